"""Files of boxes: all three formats, and every box that cannot be used."""

import json

import numpy as np
import pytest

from pinet_jax.box_files import ListedImage, read_boxes
from pinet_jax.errors import InputError

IMAGES = [ListedImage(7, "000000000007.jpg", 100, 200), ListedImage(9, "b/street.png", 50, 60)]
NAMED = [image._replace(id=image.name) for image in IMAGES]  # as `predict` lists them


def written(tmp_path, content):
    file = tmp_path / "boxes.json"
    file.write_text(json.dumps(content))
    return file


def detection(image_id=7, bbox=(10, 20, 30, 40), score=0.5, **rest):
    return {"image_id": image_id, "category_id": 1, "bbox": list(bbox), "score": score} | rest


def test_detections_in_the_order_of_the_file(tmp_path):
    content = [
        detection(score=0.3),
        detection(9, (-5, 1, 30, 20)),
        detection(category_id=3),
        detection(bbox=(1, 2, 3, 4)),
    ]
    found = read_boxes(written(tmp_path, content), IMAGES)
    np.testing.assert_array_equal(found.boxes[7], [[10, 20, 30, 40, 0.3], [1, 2, 3, 4, 0.5]])
    np.testing.assert_array_equal(found.boxes[9], [[-5, 1, 30, 20, 0.5]])
    assert found.faults == ()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (detection(8), "its image 8 is not among the images"),
        (detection(bbox=(10, 10, 0, 5)), "no area"),
        (detection(bbox=(10, 10, 5, -5)), "no area"),
        (detection(bbox=(200, 10, 5, 5)), "outside of its image of 200 x 100"),
        (detection(bbox=(10, -9, 5, 5)), "outside of its image"),
        (detection(bbox=(1, 2, 3)), "no list of finite numbers"),
        (detection(bbox=(1, 2, 3, float("nan"))), "no list of finite numbers"),
        (detection(score="high"), "no list of finite numbers"),
        (detection(score=None), "no list of finite numbers"),
        (detection([7]), "not among the images"),
        ({"category_id": 1, "bbox": [1, 2, 3, 4]}, "not among the images"),
        ({"image_id": 7, "score": 1.0}, "no list of finite numbers"),
    ],
)
def test_a_bad_box_is_named_and_the_others_stay(tmp_path, bad, message):
    file = written(tmp_path, [detection(), bad, detection(9)])
    found = read_boxes(file, IMAGES)
    (fault,) = found.faults
    assert fault.startswith(f"{file}: result 1: ") and message in fault
    assert sorted(found.boxes) == [7, 9]


def test_annotations_are_cleaned_and_unlabelled_people_left_out(tmp_path):
    points = [5, 6, 2] * 17
    people = [
        {"id": 1, "image_id": 7, "bbox": [-10, 5, 50, 30], "area": 9, "keypoints": points},
        {"id": 2, "image_id": 7, "bbox": [0, 0, 5, 5], "area": 9, "keypoints": [0] * 51},
        {"id": 3, "image_id": 7, "bbox": [0, 0, 5, 5], "area": 0, "keypoints": points},  # labelled
        {"id": 4, "image_id": 7, "bbox": [0, 0, 5, 5], "iscrowd": 1, "keypoints": points},
        {"id": 5, "image_id": 9, "bbox": [9, 9, 5, 5], "keypoints": points},
        {"id": 6, "image_id": 9, "bbox": [9, 99, 5, 5], "keypoints": points},
    ]
    images = [{"id": image.id, "file_name": image.name} for image in IMAGES]
    file = written(tmp_path, {"images": images, "annotations": people})
    for listed in (IMAGES, NAMED):
        found = read_boxes(file, listed)
        np.testing.assert_array_equal(
            found.boxes[listed[0].id], [[0, 5, 49, 29, 1], [0, 0, 4, 4, 1]]
        )
        np.testing.assert_array_equal(found.boxes[listed[1].id], [[9, 9, 4, 4, 1]])
        (fault,) = found.faults
        assert "annotation 6" in fault


def test_poses_of_another_system_give_their_extents(tmp_path):
    pose = [20, 10, 0.5, 60, 50, 0.9, 190, 90, 0]  # the last one was not found
    content = [{"image_id": "000000000007.jpg", "keypoints": pose, "score": 0.25}]
    found = read_boxes(written(tmp_path, content), NAMED)
    np.testing.assert_allclose(found.boxes["000000000007.jpg"], [[16, 6, 48, 48, 0.25]])


def test_ids_of_coco_fit_the_numbers_in_names(tmp_path):
    found = read_boxes(written(tmp_path, [detection(7)]), NAMED)
    assert list(found.boxes) == ["000000000007.jpg"]


@pytest.mark.parametrize("content", [{"images": []}, {"annotations": 3}, [1], 5, "boxes"])
def test_a_file_without_boxes_is_refused(tmp_path, content):
    with pytest.raises(InputError, match="no boxes; give COCO annotations"):
        read_boxes(written(tmp_path, content), IMAGES)


def test_a_file_that_is_no_json_is_refused(tmp_path):
    file = tmp_path / "boxes.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_boxes(file, IMAGES)
    file.write_text("[")
    with pytest.raises(InputError, match="not valid JSON"):
        read_boxes(file, IMAGES)
