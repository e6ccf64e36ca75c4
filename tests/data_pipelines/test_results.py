"""Result files: wrong ones are refused with one line that says what is wrong where."""

import json

import pytest

from data_pipelines.annotations import check_results, read_results
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.data_pipelines.coco_files import read_truth

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
        check_results(poses, read_truth(truth, "coco", COCO_17), COCO_17)
    assert "\n" not in str(error.value)


def test_good_files_pass(truth, poses):
    dataset = read_truth(truth, "coco", COCO_17)
    assert check_results(poses, dataset, COCO_17) == poses
    assert check_results([], dataset, COCO_17) == []
    del poses[0]["category_id"]
    assert check_results(poses, dataset, COCO_17)[0]["category_id"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"score": float("nan")}, r"result 0: score is no finite number \(nan\)"),
        ({"score": float("inf")}, "result 0: score is no finite number"),
        ({"score": None}, "result 0: score is no finite number"),
        ({"score": "high"}, "result 0: score is no finite number"),
        ({"keypoints": [float("nan")] * 51}, "result 0: NaN or infinite coordinates"),
        ({"keypoints": [1, 2, float("nan")] * 17}, "result 0: NaN or infinite score of a keypoint"),
        ({"keypoints": [1.0, 2.0, 0.5] * 14}, r"keypoints \(42 numbers, 17 x 3 wanted\)"),
        ({"keypoints": 3}, r"result 0: keypoints are no list of numbers \(3\)"),
        ({"keypoints": [[1.0, 2.0, 0.5]] * 51}, "keypoints are no list of numbers"),
        ({"image_id": 99}, r"result 0: result without image \(image_id 99\); are these the files"),
        ({"image_id": "c.jpg"}, r"image_id 'c.jpg'"),
        ({"image_id": [1]}, r"image_id \[1\]"),
        ({"category_id": 2}, r"result 0: category_id is no category of people \(2, not 1\)"),
    ],
)
def test_bad_results_are_refused(truth, poses, change, message):
    refused(truth, [poses[0] | change], message)


def test_the_first_of_many_is_named_and_the_others_counted(truth, poses):
    refused(truth, poses + [poses[0] | {"image_id": 9}] * 3, r"result 1: .* 9\) \(and 2 more\)")


@pytest.mark.parametrize("field", ["image_id", "keypoints", "score"])
def test_results_need_their_fields(truth, poses, field):
    del poses[0][field]
    refused(truth, poses, rf"result 0: lacks {field}")


@pytest.mark.parametrize("content", [{"annotations": []}, "poses", 3])
def test_other_content_is_no_result_file(truth, content, tmp_path):
    file = tmp_path / "r.json"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"r\.json: not a result file \(it is a JSON"):
        read_results(file, read_truth(truth, "coco", COCO_17), COCO_17)


def test_entries_are_objects(truth):
    refused(truth, [3], "result 0: not an object")


def test_broken_and_absent_files_are_refused(truth, tmp_path):
    broken = tmp_path / "broken.json"
    dataset = read_truth(truth, "coco", COCO_17)
    for content in (b'[{"image_id": 1', b"\xff\xfe\x00"):
        broken.write_bytes(content)
        with pytest.raises(InputError, match=r"broken\.json: broken JSON"):
            read_results(broken, dataset, COCO_17)
    with pytest.raises(InputError, match=r"absent\.json: not readable"):
        read_results(tmp_path / "absent.json", dataset, COCO_17)


def test_file_names_stand_for_images(truth, poses):
    dataset = read_truth(truth, "coco", COCO_17)
    named = [poses[0] | {"image_id": "a.jpg"}, poses[0] | {"image_id": "elsewhere/b.jpg"}]
    assert [r["image_id"] for r in check_results(named, dataset, COCO_17)] == [1, 2]


def test_a_file_name_of_two_images_is_refused(truth, poses):
    truth["images"][1]["file_name"] = "other/a.jpg"
    assert check_results(poses, read_truth(truth, "coco", COCO_17), COCO_17)
    refused(truth, [poses[0] | {"image_id": "a.jpg"}], r"a\.jpg")


def test_stems_stand_for_images_where_they_are_one_images(truth, poses):
    dataset = read_truth(truth, "coco", COCO_17)
    assert check_results([poses[0] | {"image_id": "b"}], dataset, COCO_17)[0]["image_id"] == 2
    truth["images"][1]["file_name"] = "b/a.png"
    refused(truth, [poses[0] | {"image_id": "a"}], r"image_id 'a'")


def test_category_0_is_people_and_said(truth, poses, tmp_path, capsys):
    file = tmp_path / "r.json"
    file.write_text(json.dumps([poses[0] | {"category_id": 0}]))
    assert read_results(file, read_truth(truth, "coco", COCO_17), COCO_17) == poses
    assert "r.json: 1 poses of category 0, taken for people" in capsys.readouterr().err


def test_results_have_the_category_of_the_truth(truth, poses):
    truth["categories"][0]["id"] = truth["annotations"][0]["category_id"] = 4
    refused(truth, poses, r"category_id is no category of people \(1, not 4\)")
    poses[0]["category_id"] = 4
    assert check_results(poses, read_truth(truth, "coco", COCO_17), COCO_17) == poses


def test_crowdpose_takes_the_area_from_the_box(truth):
    person = truth["annotations"][0]
    person["keypoints"], person["num_keypoints"] = person["keypoints"][:42], 14
    dataset = read_truth(truth, "crowdpose", CROWDPOSE_14)
    assert dataset["annotations"][0]["area"] == pytest.approx(0.53 * 50 * 80)


def test_the_metrics_ids_begin_with_1(truth):
    truth["annotations"].append(truth["annotations"][0] | {"id": 0})
    people = read_truth(truth, "coco", COCO_17)["annotations"]
    assert [person["id"] for person in people] == [1, 2]  # pycocotools cannot match an id of 0
    assert truth["annotations"][1]["id"] == 0
