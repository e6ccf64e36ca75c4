"""Wrong files are refused with one line that says what is wrong where."""

import json

import pytest

from pinet_jax.errors import InputError
from pinet_jax.evaluation.results import read_annotations, read_results
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14

KEYPOINTS = [10.0, 20.0, 2] * 17


@pytest.fixture
def truth():
    person = {
        "id": 7,
        "image_id": 1,
        "category_id": 1,
        "keypoints": list(KEYPOINTS),
        "num_keypoints": 17,
        "bbox": [0, 0, 50, 80],
        "area": 2000.0,
        "iscrowd": 0,
    }
    images = [{"id": 1, "file_name": "folder/a.jpg"}, {"id": 2, "file_name": "b.jpg"}]
    return {"images": images, "annotations": [person], "categories": [{"id": 1, "name": "person"}]}


@pytest.fixture
def poses():
    return [{"image_id": 1, "category_id": 1, "keypoints": list(KEYPOINTS), "score": 0.5}]


def refused(truth, poses, message):
    with pytest.raises(InputError, match=message) as error:
        dataset = read_annotations(truth, "coco", COCO_17)
        read_results(poses, dataset, COCO_17)
    assert "\n" not in str(error.value)


def test_good_files_pass(truth, poses):
    dataset = read_annotations(truth, "coco", COCO_17)
    assert dataset["annotations"][0]["area"] == 2000
    assert read_results(poses, dataset, COCO_17) == poses
    assert read_results([], dataset, COCO_17) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, "result 0: score is not finite"),
        ({"score": float("inf")}, "result 0: score is not finite"),
        ({"score": None}, "result 0: score is not finite"),
        ({"score": "high"}, "score holds what is no number"),
        ({"keypoints": [float("nan")] * 51}, "result 0: keypoints is not finite"),
        ({"keypoints": [1.0, 2.0, 0.5] * 14}, r"42 numbers in keypoints, not 51 \(17 keypoints\)"),
        ({"keypoints": 3}, "keypoints is not a list"),
        ({"keypoints": [[1.0, 2.0, 0.5]] * 51}, "keypoints holds what is no number"),
        ({"image_id": 99}, "result 0 is for image 99, which the annotations do not have"),
        ({"image_id": "c.jpg"}, "result 0 is for image 'c.jpg'"),
        ({"image_id": [1]}, r"result 0 is for image \[1\]"),
        ({"category_id": 2}, "result 0 is for category 2"),
    ],
)
def test_bad_results_are_refused(truth, poses, change, message):
    refused(truth, [poses[0] | change], message)


def test_the_first_of_many_is_named_and_the_others_counted(truth, poses):
    refused(truth, poses + [poses[0] | {"image_id": 9}] * 3, r"result 1 is .* 9.*\(and 2 more\)")


@pytest.mark.parametrize("field", ["image_id", "keypoints", "score"])
def test_results_need_their_fields(truth, poses, field):
    del poses[0][field]
    refused(truth, poses, rf"results\[0\] lacks {field}")


@pytest.mark.parametrize("content", [{"annotations": []}, "poses", 3, [3]])
def test_other_content_is_no_result_file(truth, content, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(json.dumps(content))
    refused(truth, file, r"r\.json: results.* (must be one JSON list|is not an object)")


def test_broken_and_absent_files_are_refused(truth, tmp_path):
    broken = tmp_path / "broken.json"
    broken.write_text('[{"image_id": 1')
    refused(truth, broken, r"broken\.json: not valid JSON")
    broken.write_bytes(b"\xff\xfe\x00")
    refused(truth, broken, r"broken\.json: not valid JSON")
    refused(truth, tmp_path / "absent.json", "absent.json: cannot be read")
    refused(tmp_path / "absent.json", [], "absent.json: cannot be read")


def test_file_names_stand_for_images(truth, poses):
    dataset = read_annotations(truth, "coco", COCO_17)
    named = [poses[0] | {"image_id": "a.jpg"}, poses[0] | {"image_id": "elsewhere/b.jpg"}]
    assert [r["image_id"] for r in read_results(named, dataset, COCO_17)] == [1, 2]


def test_a_file_name_of_two_images_is_refused(truth, poses):
    truth["images"][1]["file_name"] = "other/a.jpg"
    dataset = read_annotations(truth, "coco", COCO_17)
    assert read_results(poses, dataset, COCO_17)
    with pytest.raises(InputError, match=r"a\.jpg"):
        read_results([poses[0] | {"image_id": "a.jpg"}], dataset, COCO_17)


@pytest.mark.parametrize(
    ("where", "change", "message"),
    [
        ("images", {"id": 2}, "image id 2 occurs 2 times"),
        ("images", {"id": "x"}, "image id 'x' is no whole number"),
        ("annotations", {"image_id": 5}, "annotation 0 is for image 5"),
        ("annotations", {"keypoints": [1, 1, 2]}, "annotation 0 has 3 numbers in keypoints"),
        ("annotations", {"bbox": [1, 1]}, "annotation 0 has 2 numbers in bbox"),
        ("annotations", {"area": float("nan")}, "annotation 0: area is not finite"),
    ],
)
def test_bad_annotations_are_refused(truth, where, change, message):
    truth[where][0] |= change
    refused(truth, [], message)


def test_repeated_annotations_and_mixed_categories_are_refused(truth):
    truth["annotations"] *= 2
    refused(truth, [], "annotation id 7 occurs 2 times")
    truth["annotations"][1] = truth["annotations"][0] | {"id": 8, "category_id": 3}
    refused(truth, [], r"categories \[1, 3\]")


@pytest.mark.parametrize("field", ["id", "image_id", "keypoints", "bbox", "area"])
def test_annotations_need_their_fields(truth, field):
    del truth["annotations"][0][field]
    refused(truth, [], rf"annotations\[0\] lacks {field}")


@pytest.mark.parametrize(
    "content",
    [[], {"images": []}, {"images": None, "annotations": []}, {"images": [], "annotations": []}],
)
def test_other_content_is_no_annotations(content):
    refused(content, [], "annotations")


def test_crowdpose_needs_no_area_and_takes_it_from_the_box(truth):
    person = truth["annotations"][0]
    del person["area"]
    person["keypoints"] = person["keypoints"][:42]
    dataset = read_annotations(truth, "crowdpose", CROWDPOSE_14)
    assert dataset["annotations"][0]["area"] == pytest.approx(0.53 * 50 * 80)


def test_counts_of_the_file_stay_and_absent_ones_are_made(truth):
    person = truth["annotations"][0]
    person["num_keypoints"] = 0
    second = person | {"id": 0}
    del second["num_keypoints"], second["iscrowd"]
    truth["annotations"].append(second)
    people = read_annotations(truth, "coco", COCO_17)["annotations"]
    assert [p["num_keypoints"] for p in people] == [0, 17]
    assert [p["id"] for p in people] == [1, 2]  # the tools cannot match an id of 0
    assert people[1]["iscrowd"] == 0
    assert truth["annotations"][1]["id"] == 0
