"""Every fault by name, nothing dropped in silence, masks as pycocotools has them."""

import copy
import json
from collections import Counter
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_masks

from data_pipelines.annotations import Annotations, is_kept, read_annotations, valid_mask
from data_pipelines.annotations.reader import BOX_AREAS, OTHER_CATEGORIES
from data_pipelines.annotations.regions import region_problem
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import shared_data
from tests.data_pipelines import coco_files


@pytest.fixture
def sound(tmp_path):
    content = coco_files.content()
    coco_files.write_images(tmp_path / "images", content)
    return content


def _read(tmp_path: Path, content) -> Annotations:
    file = coco_files.write_json(tmp_path / "people.json", content)
    return read_annotations([file], COCO_17, tmp_path / "images")


def _one_fault(annotations: Annotations) -> str:
    assert len(annotations.faults) == 1, annotations.faults
    text = str(annotations.faults[0])
    assert "\n" not in text
    return text


def test_a_sound_file_comes_back_whole(tmp_path, sound):
    annotations = _read(tmp_path, sound)
    assert annotations.faults == ()
    assert list(annotations.images) == sound["images"]
    assert [p for people in annotations.people.values() for p in people] == sound["annotations"]


def test_to_coco_is_read_back_the_same(tmp_path, sound):
    annotations = _read(tmp_path, sound)
    again = _read(tmp_path, annotations.to_coco())
    assert (again.images, again.people, again.faults) == (
        annotations.images,
        annotations.people,
        (),
    )


# Each fault of a person: the field, its bad value, the record and the words that name it.
PERSON_FAULTS = [
    ("keypoints", [1, 2, 2] * 16, "wrong number of keypoints (48 numbers, 17 x 3 wanted)"),
    ("keypoints", [1, 2, 3] + [1, 2, 2] * 16, "v outside 0..2 (keypoint 0: v = 3)"),
    ("keypoints", [1, 2, 2] * 16 + [1, 2, -1], "v outside 0..2 (keypoint 16: v = -1)"),
    ("keypoints", [1, 2, 0.5] + [1, 2, 2] * 16, "v outside 0..2 (keypoint 0: v = 0.5)"),
    ("keypoints", [float("nan"), 2, 2] + [1, 2, 2] * 16, "NaN or infinite coordinates"),
    ("keypoints", [1, float("inf"), 2] + [1, 2, 2] * 16, "NaN or infinite coordinates"),
    ("keypoints", [1, 1e300, 2] + [1, 2, 2] * 16, "NaN or infinite coordinates"),
    ("keypoints", [1, 10**400, 2] + [1, 2, 2] * 16, "NaN or infinite coordinates"),
    ("keypoints", "1 2 3", "keypoints are no list of numbers"),
    ("keypoints", [[1, 2, 2]] * 17, "keypoints are no list of numbers"),
    ("keypoints", None, "keypoints are no list of numbers (missing)"),
    ("bbox", [1, 2, 0, 5], "empty or negative box ([1, 2, 0, 5])"),
    ("bbox", [1, 2, 5, -3], "empty or negative box ([1, 2, 5, -3])"),
    ("bbox", [1, 2, 1e-30, 1e-30], "empty or negative box"),
    ("bbox", [1, 2, float("nan"), 3], "NaN or infinite box"),
    ("bbox", [1, 2, 3], "bbox is no list of four numbers"),
    ("bbox", None, "bbox is no list of four numbers (missing)"),
    ("image_id", 77, "annotation without image (image_id 77)"),
    ("image_id", "2", "annotation without image (image_id '2')"),
    ("iscrowd", 2, "iscrowd is neither 0 nor 1"),
    ("num_keypoints", -1, "num_keypoints is no count"),
    ("area", float("nan"), "area is no finite, positive number"),
    ("id", 101, "duplicate id"),
]


@pytest.mark.parametrize(("field", "value", "words"), PERSON_FAULTS)
def test_a_bad_person_is_named_and_left_out_alone(tmp_path, sound, field, value, words):
    sound["annotations"][1][field] = value
    annotations = _read(tmp_path, sound)
    number = 101 if field == "id" else 102
    assert _one_fault(annotations).startswith(
        f"{tmp_path / 'people.json'}: annotation {number}: {words}"
    )
    assert [image["id"] for image in annotations.images] == [1, 2, 3]
    assert {i: [p["id"] for p in people] for i, people in annotations.people.items()} == {
        1: [101],
        2: [],
        3: [103],
    }


IMAGE_FAULTS = [
    ("file_name", "gone.jpg", "missing image ("),
    ("file_name", "../images/0002.jpg", "path leaves the image folder ('../images/0002.jpg'"),
    ("file_name", "/etc/passwd", "path leaves the image folder"),
    ("file_name", "..\\0002.jpg", "path leaves the image folder"),
    ("file_name", "C:0002.jpg", "path leaves the image folder"),
    ("file_name", "", "no usable file_name"),
    ("file_name", "a\0b.jpg", "no usable file_name"),
    ("file_name", "\ud800.jpg", "no usable file_name"),
    ("file_name", 2, "no usable file_name"),
    ("width", 49, "image size differs from the file (49 x 32 stated, 48 x 32 in "),
    ("height", 30, "image size differs from the file (48 x 30 stated, 48 x 32 in "),
    ("width", 0, "width is no positive whole number"),
    ("height", 31.5, "height is no positive whole number"),
    ("height", None, "height is no positive whole number (missing"),
    ("crowdIndex", float("inf"), "crowdIndex is no finite number"),
]


@pytest.mark.parametrize(("field", "value", "words"), IMAGE_FAULTS)
def test_a_bad_image_is_named_and_takes_its_people_with_it(tmp_path, sound, field, value, words):
    sound["images"][1][field] = value
    annotations = _read(tmp_path, sound)
    fault = _one_fault(annotations)
    assert fault.startswith(f"{tmp_path / 'people.json'}: image 2: {words}")
    assert "its 1 annotation(s) go with it" in fault
    assert [image["id"] for image in annotations.images] == [1, 3]
    assert set(annotations.people) == {1, 3}


def test_a_duplicate_image_id_is_named_and_the_first_stays(tmp_path, sound):
    sound["images"].append(dict(sound["images"][0], file_name="0002.jpg"))
    annotations = _read(tmp_path, sound)
    assert "image 1: duplicate id" in _one_fault(annotations)
    assert annotations.images[0]["file_name"] == "0001.jpg"


@pytest.mark.parametrize("field", ["images", "annotations"])
@pytest.mark.parametrize("record", [None, 3, [], "x", {}, {"id": "7"}, {"id": 2**63}, {"id": True}])
def test_a_record_without_id_goes_by_its_place(tmp_path, sound, field, record):
    sound[field].append(record)
    assert f"people.json: {field}[3]: " in _one_fault(_read(tmp_path, sound))


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[: len(data) // 2], id="truncated"),
        pytest.param(lambda data: b"", id="empty"),
        pytest.param(lambda data: b"not a picture", id="text"),
        pytest.param(lambda data: data[:200] + b"\xff\xc0" * 300, id="overwritten"),
    ],
)
def test_a_broken_jpeg_is_named(tmp_path, sound, damage):
    file = tmp_path / "images" / "0002.jpg"
    file.write_bytes(damage(file.read_bytes()))
    assert f"image 2: broken image ({file}" in _one_fault(_read(tmp_path, sound))


def test_a_broken_png_is_named(tmp_path, sound):
    file = tmp_path / "images" / "0002.png"
    Image.new("RGB", (48, 32)).save(file)
    file.write_bytes(file.read_bytes()[:-20])
    sound["images"][1]["file_name"] = "0002.png"
    assert f"image 2: broken image ({file}" in _one_fault(_read(tmp_path, sound))


def test_a_picture_of_another_kind_is_named(tmp_path, sound):
    Image.new("RGB", (48, 32)).save(tmp_path / "images" / "0002.gif")
    sound["images"][1]["file_name"] = "0002.gif"
    assert "image 2: broken image" in _one_fault(_read(tmp_path, sound))


BROKEN_FILES = [
    ('{"images": [', "broken JSON"),
    ("\xff\xfe\x00", "broken JSON"),
    ("", "broken JSON"),
    ("[" * 100_000, "broken JSON"),
    ("[]", "not a COCO-format object (it is a JSON list)"),
    ('{"images": []}', "not a COCO-format object (it has no list `annotations`)"),
    ('{"images": {}, "annotations": []}', "not a COCO-format object (it has no list `images`)"),
    ('{"images": [], "annotations": [], "categories": 3}', "not a COCO-format object"),
    (
        '{"images": [], "annotations": [], "categories": [{"keypoints": ["nose"]}]}',
        "other keypoints than the skeleton's",
    ),
]


@pytest.mark.parametrize(("text", "words"), BROKEN_FILES)
def test_a_broken_file_is_named(tmp_path, text, words):
    file = tmp_path / "people.json"
    file.write_bytes(text.encode("latin-1"))
    annotations = read_annotations([file], COCO_17)
    assert _one_fault(annotations).startswith(f"{file}: {words}")
    assert annotations.unreadable == annotations.faults
    assert annotations.images == ()


def test_a_missing_file_is_named(tmp_path):
    annotations = read_annotations([tmp_path / "none.json"], COCO_17)
    assert (
        _one_fault(annotations)
        == f"{tmp_path / 'none.json'}: not readable (No such file or directory)"
    )


def test_all_faults_are_listed(tmp_path, sound):
    sound["images"][0]["width"] = 50
    sound["annotations"][1]["bbox"] = [1, 1, 0, 0]
    sound["annotations"][1]["keypoints"] = [0.0]
    sound["annotations"][2]["image_id"] = 9
    records = [fault.record for fault in _read(tmp_path, sound).faults]
    assert sorted(records) == ["annotation 102", "annotation 102", "annotation 103", "image 1"]


def test_two_files_are_joined(tmp_path):
    halves = [coco_files.content(2), coco_files.content(2, first_id=3)]
    files = []
    for number, half in enumerate(halves):
        coco_files.write_images(tmp_path / "images", half)
        files.append(coco_files.write_json(tmp_path / f"{number}.json", half))
    annotations = read_annotations(files, COCO_17, tmp_path / "images")
    assert annotations.faults == ()
    assert [image["id"] for image in annotations.images] == [1, 2, 3, 4]


def test_an_id_of_both_joined_files_names_both(tmp_path):
    files = [
        coco_files.write_json(tmp_path / f"{number}.json", coco_files.content(1))
        for number in range(2)
    ]
    faults = read_annotations(files, COCO_17).faults
    assert [fault.record for fault in faults] == ["image 1", "annotation 101"]
    assert all(fault.file == files[1] and str(files[0]) in fault.detail for fault in faults)


def test_missing_optional_fields_are_filled_in(tmp_path, sound):
    for field in ("area", "iscrowd", "num_keypoints", "category_id", "segmentation"):
        del sound["annotations"][0][field]
    annotations = _read(tmp_path, sound)
    assert annotations.faults == ()
    (filled,) = annotations.people[1]
    assert (filled["area"], filled["iscrowd"], filled["num_keypoints"]) == (600.0, 0, 17)
    assert filled["category_id"] == 1


def test_an_area_of_0_is_that_of_the_box_and_said(tmp_path, sound):
    sound["annotations"][0]["area"] = 0
    del sound["annotations"][1]["area"]
    annotations = _read(tmp_path, sound)
    assert [annotations.people[i][0]["area"] for i in (1, 2, 3)] == [600.0, 600.0, 400.0]
    assert annotations.notes == {BOX_AREAS: 2}


def test_an_area_of_0_of_nobody_labelled_stays(tmp_path, sound):
    sound["annotations"][0] |= {"area": 0, "keypoints": [0] * 51, "num_keypoints": 0}
    annotations = _read(tmp_path, sound)
    assert annotations.people[1][0]["area"] == 0
    assert annotations.notes == {}


def test_other_categories_are_left_out_and_counted(tmp_path, sound):
    """As exports do that have labels without keypoints beside the people."""
    sound["categories"][0]["id"] = 5
    sound["categories"].append({"id": 2, "name": "ball", "keypoints": []})
    for person, category_id in zip(sound["annotations"], (5, 2, 5), strict=True):
        person["category_id"] = category_id
    del sound["annotations"][1]["keypoints"], sound["annotations"][1]["bbox"]
    annotations = _read(tmp_path, sound)
    assert annotations.faults == ()
    assert [len(annotations.people[i]) for i in (1, 2, 3)] == [1, 0, 1]
    assert annotations.notes == {OTHER_CATEGORIES: 1}
    assert annotations.category["id"] == annotations.people[1][0]["category_id"] == 5


@pytest.mark.parametrize("categories", [None, [], [{"id": 1, "name": "person"}]])
def test_people_of_an_unknown_category_are_named(tmp_path, sound, categories):
    sound["categories"] = categories
    if categories is None:
        del sound["categories"]
    sound["annotations"][2]["category_id"] = 3
    fault = _one_fault(_read(tmp_path, sound))
    assert "annotation 103: category_id is no category of people (3, not 1)" in fault


def test_figures_need_no_pictures_and_so_no_sizes(sound):
    for image in sound["images"]:
        del image["file_name"], image["width"], image["height"]
    assert _read_alone(sound).faults == ()
    sound["images"][1]["width"] = 0
    assert "image 2: width is no positive" in _one_fault(_read_alone(sound))


def test_missing_pictures_are_found_without_decoding(tmp_path, sound):
    (tmp_path / "images" / "0002.jpg").write_bytes(b"broken")
    (tmp_path / "images" / "0003.jpg").unlink()
    file = coco_files.write_json(tmp_path / "people.json", sound)
    annotations = read_annotations([file], COCO_17, tmp_path / "images", decode=False)
    assert "image 3: missing image" in _one_fault(annotations)


def test_a_list_of_images_alone_is_read_on_request(tmp_path, sound):
    del sound["annotations"]
    file = coco_files.write_json(tmp_path / "people.json", sound)
    assert "has no list `annotations`" in _one_fault(read_annotations([file], COCO_17))
    listed = read_annotations([file], COCO_17, annotations_required=False)
    assert listed.faults == () and not listed.annotated and len(listed.images) == 3


def test_the_first_of_several_faults_is_raised_and_the_others_counted(tmp_path, sound):
    for person in sound["annotations"]:
        person["iscrowd"] = None
    with pytest.raises(InputError, match=r"annotation 101: iscrowd is neither.* \(and 2 more\)$"):
        _read(tmp_path, sound).require_sound()


def test_the_files_own_count_of_keypoints_stays(tmp_path, sound):
    sound["annotations"][0]["num_keypoints"] = 3
    assert _read(tmp_path, sound).people[1][0]["num_keypoints"] == 3


@pytest.mark.parametrize(
    ("iscrowd", "num_keypoints", "kept"), [(0, 5, True), (0, 0, True), (1, 0, False), (1, 5, True)]
)
def test_people_kept(iscrowd, num_keypoints, kept):
    assert is_kept({"iscrowd": iscrowd, "num_keypoints": num_keypoints}) == kept


# Valid masks.

IMAGE = {"id": 1, "width": 48, "height": 32}


def _rectangle() -> np.ndarray:
    mask = np.zeros((32, 48), np.uint8)
    mask[4:24, 5:35] = 1
    return mask


def _uncompressed(mask: np.ndarray) -> dict:
    pixels = mask.flatten(order="F")
    ends = [*np.flatnonzero(np.diff(pixels)) + 1, len(pixels)]
    runs = np.diff([0, *ends]).tolist()
    return {"size": [32, 48], "counts": runs if pixels[0] == 0 else [0, *runs]}


def _compressed(mask: np.ndarray) -> dict:
    rle = coco_masks.encode(np.asfortranarray(mask))
    return {"size": [32, 48], "counts": rle["counts"].decode()}


@pytest.mark.parametrize("form", ["polygon", "runs", "string", "box"])
@pytest.mark.parametrize("who", [{"iscrowd": 1}, {"num_keypoints": 0}])
def test_crowds_and_unlabelled_people_are_masked(tmp_path, sound, form, who):
    mask = _rectangle()
    shapes = {
        "polygon": [[5, 4, 35, 4, 35, 24, 5, 24]],
        "runs": _uncompressed(mask),
        "string": _compressed(mask),
        "box": None,
    }
    sound["annotations"][0] |= {"segmentation": shapes[form], **who}
    annotations = _read(tmp_path, sound)
    assert annotations.faults == ()
    np.testing.assert_array_equal(valid_mask(IMAGE, annotations.people[1]), 1 - mask)


def test_labelled_people_stay_in_the_mask():
    assert valid_mask(IMAGE, [coco_files.person(1, 1)]).all()


BROKEN_SHAPES = [
    [[1, 2, 3, 4]],
    [[1, 2, 3, 4, 5, 6, 7]],
    [[1, 2, 3, 4, 5, float("nan")]],
    [[1, 2, 3, 4, 5, 1e9]],
    [[]],
    [None],
    "text",
    {"size": [32, 48]},
    {"size": [48, 32], "counts": [1536]},
    {"size": [32, 48], "counts": [5, 20]},  # pycocotools leaves the rest uninitialised
    {"size": [32, 48], "counts": [1600, -64]},
    {"size": [32, 48], "counts": ""},
    {"size": [32, 48], "counts": "zz"},
    {"size": [32, 48], "counts": "~~~"},
    {"size": [32.0, 48.0], "counts": [1536]},
]


@pytest.mark.parametrize("shape", BROKEN_SHAPES)
def test_a_region_that_cannot_be_masked_is_named(tmp_path, sound, shape):
    sound["annotations"][0] |= {"segmentation": shape, "iscrowd": 1}
    annotations = _read(tmp_path, sound)
    assert "annotation 101: broken segmentation" in _one_fault(annotations)
    assert annotations.people[1] == ()


@hypothesis.given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40))
@hypothesis.settings(deadline=None, max_examples=50)
def test_every_rle_of_pycocotools_is_sound(seed, height, width):
    rng = np.random.default_rng(seed)
    mask = (rng.random((height, width)) < rng.random()).astype(np.uint8)
    rle = coco_masks.encode(np.asfortranarray(mask))
    shape = {"size": [height, width], "counts": rle["counts"].decode()}
    crowd = coco_files.person(1, 1, iscrowd=1, segmentation=shape)
    image = {"id": 1, "file_name": "a.jpg", "width": width, "height": height}
    assert region_problem(crowd, height, width) is None
    np.testing.assert_array_equal(valid_mask(image, [crowd]), 1 - mask)


# Fuzz.

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


def _read_alone(content, folder=None) -> Annotations:
    file = coco_files.MemoryFile(json.dumps(content).encode())
    return read_annotations([file], COCO_17, folder)  # type: ignore[list-item]


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
    _check_all_named(content, _read_alone(content))
    with_pictures = _read_alone(content, pictures)
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


# Real data.


@pytest.mark.parametrize(
    ("parts", "folder", "skeleton", "images", "people"),
    [
        ("coco/annotations/person_keypoints_train2017.json", "coco/train2017", COCO_17, 28, 147),
        ("coco/annotations/person_keypoints_val2017.json", "coco/val2017", COCO_17, 16, 45),
        ("ochuman/ochuman_coco_format_val_range_0.00_1.00.json", "ochuman/images", COCO_17, 3, 5),
        ("crowdpose/json/crowdpose_trainval.json", "crowdpose/images", CROWDPOSE_14, 2, 5),
    ],
)
def test_real_files_have_no_faults(parts, folder, skeleton, images, people):
    annotations = read_annotations([shared_data(parts)], skeleton, shared_data(folder))
    assert annotations.faults == ()
    assert len(annotations.images) == images
    assert sum(map(len, annotations.people.values())) == people


def test_crowdposes_val_has_no_faults_but_its_missing_images():
    file = shared_data("crowdpose/json/crowdpose_val.json")
    alone = read_annotations([file], CROWDPOSE_14)
    assert alone.faults == ()
    assert (len(alone.images), sum(map(len, alone.people.values()))) == (2000, 8527)
    checked = read_annotations([file], CROWDPOSE_14, shared_data("crowdpose/images"))
    assert [fault.kind for fault in checked.faults] == ["missing image"] * 2000


def test_cocos_masks_are_pycocotools_own():
    """Against pycocotools' annToMask, one annotation at a time."""
    from pycocotools.coco import COCO

    file = shared_data("coco/annotations/person_keypoints_train2017.json")
    tool = COCO()
    tool.dataset = json.loads(file.read_text())
    tool.createIndex()
    annotations = read_annotations([file], COCO_17)
    cut = 0
    for image in annotations.images:
        expected = np.ones((image["height"], image["width"]), np.uint8)
        for person in tool.loadAnns(tool.getAnnIds(image["id"])):
            if person["iscrowd"] or person["num_keypoints"] == 0:
                expected[tool.annToMask(person) > 0] = 0
        np.testing.assert_array_equal(valid_mask(image, annotations.people[image["id"]]), expected)
        cut += not expected.all()
    assert cut == 12
