"""Regions that leave the valid mask: masks as pycocotools has them, and broken ones by name."""

import json

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from pycocotools import mask as coco_masks

from data_pipelines.annotations import read_annotations, valid_mask
from data_pipelines.annotations.regions import region_problem
from pinet_jax.skeletons import COCO_17
from tests.conftest import shared_data
from tests.data_pipelines import coco_files
from tests.data_pipelines.coco_files import one_fault, read

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
@pytest.mark.parametrize("who", [{"iscrowd": 1}, {"keypoints": [0] * 51, "num_keypoints": 0}])
def test_crowds_and_unlabelled_people_are_masked(tmp_path, sound, form, who):
    mask = _rectangle()
    shapes = {
        "polygon": [[5, 4, 35, 4, 35, 24, 5, 24]],
        "runs": _uncompressed(mask),
        "string": _compressed(mask),
        "box": None,
    }
    sound["annotations"][0] |= {"segmentation": shapes[form], **who}
    annotations = read(tmp_path, sound)
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
    annotations = read(tmp_path, sound)
    assert "annotation 101: broken segmentation" in one_fault(annotations)
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
