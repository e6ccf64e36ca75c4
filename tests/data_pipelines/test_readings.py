"""What a file does not say of itself: EXIF, joined categories; and what stands for bad records."""

import numpy as np
import pytest
from PIL import Image

from data_pipelines.annotations import Reading, check_results, read_annotations, valid_mask
from data_pipelines.annotations.checked import TURNED
from pinet_jax.errors import InputError
from pinet_jax.evaluation.coco import evaluate_coco
from pinet_jax.evaluation.dataset import ground_truth
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines import coco_files
from tests.data_pipelines.coco_files import one_fault

UPRIGHT, STORED = Reading(exif="upright"), Reading(exif="stored")


def _read(folder, content, reading=Reading(), **options):
    file = coco_files.write_json(folder / "people.json", content)
    return read_annotations([file], COCO_17, folder / "images", reading=reading, **options)


def _turn(folder, orientation, name="0002.jpg"):
    """The same stored pixels, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = folder / "images" / name
    with Image.open(path) as picture:
        picture.save(path, exif=exif.tobytes())


@pytest.mark.parametrize("decode", [True, False])
def test_exif_asks_which_pixels_the_labels_are_in(tmp_path, sound, decode):
    _turn(tmp_path, 3)  # upside down: its size says nothing
    found = _read(tmp_path, sound, decode=decode)
    assert found.faults == () and found.notes == {TURNED: 1}
    with pytest.raises(InputError, match=r"1 of 3 pictures have an EXIF orientation.*--exif upri"):
        found.require_sound()
    for reading in (UPRIGHT, STORED):
        _read(tmp_path, sound, reading, decode=decode).require_sound()


def test_a_size_that_fits_only_swapped_names_exif(tmp_path, sound):
    _turn(tmp_path, 6)
    line = one_fault(_read(tmp_path, sound, UPRIGHT))
    assert "48 x 32 stated, 32 x 48 in" in line and "it fits --exif stored" in line
    assert _read(tmp_path, sound, STORED).faults == ()
    sound["images"][1] |= {"width": 32, "height": 48}
    line = one_fault(_read(tmp_path, sound, STORED))
    assert "32 x 48 stated, 48 x 32 in" in line and "it fits --exif upright" in line
    assert _read(tmp_path, sound, UPRIGHT).faults == ()
    assert _read(tmp_path, sound).faults == ()  # the question comes first


def _animals():
    content = coco_files.content(3)
    keypoints = content["categories"][0]["keypoints"]
    content["categories"] = [
        {"id": 17, "name": "cat", "keypoints": keypoints},
        {"id": 18, "name": "dog", "keypoints": keypoints},
        {"id": 3, "name": "car", "keypoints": []},
    ]
    for person, category in zip(content["annotations"], (17, 18, 3), strict=True):
        person["category_id"] = category
    return content


def test_equal_categories_are_joined_on_request():
    refused = coco_files.read_content(_animals())
    assert "several categories with the skeleton's keypoints (cat, dog; " in one_fault(refused)
    assert "--join-categories" in one_fault(refused)
    file = coco_files.MemoryFile(coco_files.json.dumps(_animals()).encode())
    joined = read_annotations([file], COCO_17, reading=Reading(join_categories=True))
    assert joined.faults == ()
    assert [len(joined.people[i]) for i in (1, 2, 3)] == [1, 1, 0]
    assert {p["category_id"] for group in joined.people.values() for p in group} == {17}
    dataset = ground_truth(joined.to_coco(), "coco")
    results = [
        {"image_id": i, "category_id": c, "keypoints": _animals()["annotations"][0]["keypoints"],
         "score": 1}
        for i, c in ((1, 17), (2, 18))
    ]  # fmt: skip
    checked = check_results(results, dataset, COCO_17)
    assert evaluate_coco(dataset, checked, COCO_17).metrics["AP"] == pytest.approx(1)
    with pytest.raises(InputError, match="3, not 17 or 18"):
        check_results([results[0] | {"category_id": 3}], dataset, COCO_17)


def test_one_category_of_several_that_has_the_keypoints_is_taken():
    content = coco_files.content(2)
    content["categories"].append({"id": 2, "name": "face", "keypoints": ["chin"]})
    content["annotations"].append(
        {"id": 7, "image_id": 1, "category_id": 2, "keypoints": [1, 1, 2]}
    )
    found = coco_files.read_content(content)
    assert found.faults == () and len(found.people[1]) == 1


BROKEN = [
    ({"keypoints": [1, 2]}, np.s_[4:24, 5:35]),  # where the segmentation is
    ({"keypoints": [1, 2], "segmentation": None, "bbox": [2, 3, 8, 6]}, np.s_[3:9, 2:10]),
    ({"bbox": [0, 0, -1, 5], "segmentation": None}, np.s_[3:29, 6:32]),  # about the keypoints
    ({"bbox": "x", "keypoints": None, "segmentation": None}, np.s_[:, :]),  # nobody knows
    ({"iscrowd": "0"}, np.s_[4:24, 5:35]),
]


@pytest.mark.parametrize(("fields", "region"), BROKEN)
def test_whoever_is_left_out_is_never_background(tmp_path, sound, fields, region):
    sound["annotations"].append(coco_files.person(300, 2) | fields)
    found = _read(tmp_path, sound)
    assert {fault.record for fault in found.faults} == {"annotation 300"}
    assert len(found.people[2]) == 1
    masked = found.with_left_out()
    (person, left_out) = masked.people[2]
    assert (person["id"], left_out["iscrowd"], left_out["num_keypoints"]) == (102, 1, 0)
    assert left_out["id"] not in (101, 102, 103, 300)
    mask = valid_mask(masked.images[1], masked.people[2])
    expected = np.ones((32, 48), np.uint8)
    expected[region] = 0
    np.testing.assert_array_equal(mask, expected)
    assert valid_mask(masked.images[0], masked.people[1]).all()
    again = coco_files.read_content(masked.to_coco())  # what is written is sound
    assert again.faults == ()


def test_the_second_of_one_id_is_left_out_too(tmp_path, sound):
    sound["annotations"].append(coco_files.person(102, 2, segmentation=None, bbox=[1, 1, 4, 4]))
    (_, left_out) = _read(tmp_path, sound).with_left_out().people[2]
    assert left_out["bbox"] == [1, 1, 4, 4]


@pytest.mark.parametrize("value", [None, "0", "1", [1], 2, 0.5, float("nan")])
def test_iscrowd_is_checked(sound, value):
    sound["annotations"][0]["iscrowd"] = value
    assert "annotation 101: iscrowd is neither 0 nor 1" in one_fault(coco_files.read_content(sound))


@pytest.mark.parametrize("value", [[1], {"id": 1}, "1", None, True, 1.5])
def test_category_is_checked(sound, value):
    sound["annotations"][0]["category_id"] = value
    line = one_fault(coco_files.read_content(sound))
    assert "annotation 101: category_id is no category of people" in line
