"""Damaged files: whatever a record holds, it is sound or named."""

import copy
import json
from collections import Counter

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines.annotations import Annotations, read_annotations, valid_mask
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines import coco_files

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
NUMBERS = st.sampled_from([0, 1, 2, -1, 0.5, 1e308, 10**400, float("nan"), float("inf"), 2**70])
FIELDS = (
    "id", "image_id", "keypoints", "bbox", "area", "iscrowd", "num_keypoints", "segmentation",
    "category_id", "file_name", "width", "height", "crowdIndex",
)  # fmt: skip


@st.composite
def damaged(draw):
    """A sound file with a few of its values replaced, removed or repeated."""
    content = copy.deepcopy(coco_files.content())
    for _ in range(draw(st.integers(0, 4))):
        records = content[draw(st.sampled_from(["images", "annotations"]))]
        position = draw(st.integers(0, len(records) - 1))
        kind = draw(st.sampled_from(["value", "number", "remove", "repeat", "record", "crowd"]))
        record = records[position]
        if kind == "record":
            records[position] = draw(JUNK)
        elif kind == "repeat":
            records.append(copy.deepcopy(record))
        elif isinstance(record, dict):
            field = draw(st.sampled_from(FIELDS))
            if kind == "value":
                record[field] = draw(JUNK)
            elif kind == "remove":
                record.pop(field, None)
            elif kind == "crowd":
                record["iscrowd"] = 1
            elif isinstance(record.get(field), list) and record[field]:
                numbers = list(record[field])
                numbers[draw(st.integers(0, len(numbers) - 1))] = draw(NUMBERS)
                record[field] = numbers
            else:
                record[field] = draw(NUMBERS)
    return content


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """The folder of the sound file's pictures."""
    folder = tmp_path_factory.mktemp("pictures")
    coco_files.write_images(folder, coco_files.content())
    return folder


def _names(field: str, noun: str, record, position: int) -> set[str]:
    """What a fault may call a record: by its id, or by its place."""
    number = record.get("id") if isinstance(record, dict) else None
    return {f"{noun} {_as_whole(number)}", f"{field}[{position}]"}


def _as_whole(number):
    whole = isinstance(number, float) and number.is_integer()
    return int(number) if whole else number


@hypothesis.given(damaged())
@hypothesis.settings(deadline=None, max_examples=400)
def test_a_record_is_sound_or_named(pictures, content):
    _check_all_named(content, coco_files.read_content(content))
    with_pictures = coco_files.read_content(content, pictures)
    _check_all_named(content, with_pictures)
    for image in with_pictures.images:
        assert (image["width"], image["height"]) == (48, 32)
        assert (pictures / image["file_name"]).is_file()
        valid_mask(image, with_pictures.people[image["id"]])


def _check_all_named(content, annotations: Annotations) -> None:
    faulty = {fault.record for fault in annotations.faults}
    assert all(str(fault).isprintable() for fault in annotations.faults)
    sound = {f"image {image['id']}" for image in annotations.images}
    sound |= {f"annotation {p['id']}" for people in annotations.people.values() for p in people}

    for position, image in enumerate(content["images"]):
        assert _names("images", "image", image, position) & (sound | faulty)
    for position, person in enumerate(content["annotations"]):
        image_id = person.get("image_id") if isinstance(person, dict) else None
        names = _names("annotations", "annotation", person, position)
        assert names & (sound | faulty) or f"image {_as_whole(image_id)}" in faulty
    _assert_repeats_are_named(content, [fault.record for fault in annotations.faults])
    _assert_usable(annotations)


def _assert_repeats_are_named(content, faulty: list[str]) -> None:
    for field, noun in (("images", "image"), ("annotations", "annotation")):
        names = Counter(
            f"{noun} {_as_whole(record['id'])}"
            for position, record in enumerate(content[field])
            if isinstance(record, dict) and "id" in record and f"{field}[{position}]" not in faulty
        )
        assert all(count - 1 <= faulty.count(name) for name, count in names.items())


def _assert_usable(annotations: Annotations) -> None:
    """What the builders, the evaluation and JSON need of sound records."""
    json.dumps(annotations.to_coco(), allow_nan=True)
    for image in annotations.images:
        np.int64(image["id"])
        for person in annotations.people[image["id"]]:
            keypoints = np.array(person["keypoints"], np.float32).reshape(17, 3)
            assert np.isfinite(keypoints).all() and np.isin(keypoints[:, 2], (0, 1, 2)).all()
            x, y, w, h = np.array(person["bbox"], np.float32)
            assert np.isfinite([x, y, w, h, w * h]).all() and w * h > 0
            np.int64(person["id"])


@hypothesis.given(st.binary(max_size=200) | JUNK.map(lambda value: json.dumps(value).encode()))
@hypothesis.settings(deadline=None, max_examples=200)
def test_any_bytes_are_a_fault_or_a_file(data):
    annotations = read_annotations([coco_files.MemoryFile(data)], COCO_17)  # type: ignore[list-item]
    assert annotations.images == () and annotations.faults
