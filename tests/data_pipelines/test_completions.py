"""What stands in for fields that exporters leave out, and what is said of it."""

import pytest

from data_pipelines.annotations import is_kept, read_annotations
from data_pipelines.annotations.reader import BOX_AREAS, MADE_BOXES, OTHER_CATEGORIES
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.data_pipelines import coco_files
from tests.data_pipelines.coco_files import one_fault, read


def test_missing_optional_fields_are_filled_in(tmp_path, sound):
    for field in ("area", "iscrowd", "num_keypoints", "category_id", "segmentation"):
        del sound["annotations"][0][field]
    annotations = read(tmp_path, sound)
    assert annotations.faults == ()
    (filled,) = annotations.people[1]
    assert (filled["area"], filled["iscrowd"], filled["num_keypoints"]) == (600.0, 0, 17)
    assert filled["category_id"] == 1


def test_an_area_of_0_is_that_of_the_box_and_said(tmp_path, sound):
    sound["annotations"][0]["area"] = 0
    del sound["annotations"][1]["area"]
    annotations = read(tmp_path, sound)
    assert [annotations.people[i][0]["area"] for i in (1, 2, 3)] == [600.0, 600.0, 400.0]
    assert annotations.notes == {BOX_AREAS: 2}


@pytest.mark.parametrize("box", [None, [], [10.5, 8, 50, 0], [3, 4, 0, 0]])
def test_a_box_is_made_from_labelled_keypoints_and_said(tmp_path, sound, box):
    """Two keypoints on one level, as tools export them: 50 pixels wide, not high at all."""
    points = [0, 0, 0] * 15 + [10.5, 8, 2, 60.5, 8, 1]
    person = sound["annotations"][0]
    person |= {"keypoints": points, "num_keypoints": 2, "bbox": box, "area": 0}
    annotations = _read_ok(tmp_path, sound)
    assert annotations.people[1][0]["bbox"] == [5.5, 3, 60, 10]
    assert annotations.people[1][0]["area"] == 600
    assert annotations.notes == {MADE_BOXES: 1, BOX_AREAS: 1}


def test_one_keypoint_has_a_box(tmp_path, sound):
    points = [7, 8, 2] + [0, 0, 0] * 16
    sound["annotations"][0] |= {"keypoints": points, "num_keypoints": 1, "bbox": [7, 8, 0, 0]}
    assert _read_ok(tmp_path, sound).people[1][0]["bbox"] == [2, 3, 10, 10]


def test_no_box_can_be_made_of_nobody_labelled(tmp_path, sound):
    unlabelled = {"keypoints": [0] * 51, "num_keypoints": 0, "bbox": [1, 2, 0, 5]}
    sound["annotations"][0] |= unlabelled
    assert "annotation 101: empty or negative box ([1, 2, 0, 5])" in one_fault(
        read(tmp_path, sound)
    )


@pytest.mark.parametrize("missing", [None, float("nan")])
def test_unlabelled_keypoints_need_no_coordinates(tmp_path, sound, missing):
    sound["annotations"][0]["keypoints"][:3] = [missing, missing, 0]
    (person,) = _read_ok(tmp_path, sound).people[1]
    assert person["keypoints"][:3] == [0, 0, 0]
    assert person["keypoints"][3:] == sound["annotations"][0]["keypoints"][3:]


def test_crowdposes_counts_are_its_own(tmp_path):
    content = coco_files.content(1, CROWDPOSE_14)
    content["annotations"][0]["num_keypoints"] = 0
    annotations = coco_files.read_content(content, skeleton=CROWDPOSE_14)
    assert annotations.faults == ()
    assert annotations.people[1][0]["num_keypoints"] == 0


def _read_ok(folder, content):
    annotations = read(folder, content)
    assert annotations.faults == ()
    return annotations


def test_an_area_of_0_of_nobody_labelled_stays(tmp_path, sound):
    sound["annotations"][0] |= {"area": 0, "keypoints": [0] * 51, "num_keypoints": 0}
    annotations = read(tmp_path, sound)
    assert annotations.people[1][0]["area"] == 0
    assert annotations.notes == {}


def test_other_categories_are_left_out_and_counted(tmp_path, sound):
    """As exports do that have labels without keypoints beside the people."""
    sound["categories"][0]["id"] = 5
    sound["categories"].append({"id": 2, "name": "ball", "keypoints": []})
    for person, category_id in zip(sound["annotations"], (5, 2, 5), strict=True):
        person["category_id"] = category_id
    del sound["annotations"][1]["keypoints"], sound["annotations"][1]["bbox"]
    annotations = read(tmp_path, sound)
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
    fault = one_fault(read(tmp_path, sound))
    assert "annotation 103: category_id is no category of people (3, not 1)" in fault


def test_figures_need_no_pictures_and_so_no_sizes(sound):
    for image in sound["images"]:
        del image["file_name"], image["width"], image["height"]
    assert coco_files.read_content(sound).faults == ()
    sound["images"][1]["width"] = 0
    assert "image 2: width is no positive" in one_fault(coco_files.read_content(sound))


def test_missing_pictures_are_found_without_decoding(tmp_path, sound):
    picture = tmp_path / "images" / "0002.jpg"
    picture.write_bytes(picture.read_bytes()[:-100])  # found by decoding alone
    (tmp_path / "images" / "0003.jpg").unlink()
    file = coco_files.write_json(tmp_path / "people.json", sound)
    annotations = read_annotations([file], COCO_17, tmp_path / "images", decode=False)
    assert "image 3: missing image" in one_fault(annotations)


def test_a_list_of_images_alone_is_read_on_request(tmp_path, sound):
    del sound["annotations"]
    file = coco_files.write_json(tmp_path / "people.json", sound)
    assert "has no list `annotations`" in one_fault(read_annotations([file], COCO_17))
    listed = read_annotations([file], COCO_17, annotations_required=False)
    assert listed.faults == () and not listed.annotated and len(listed.images) == 3


def test_the_first_of_several_faults_is_raised_and_the_others_counted(tmp_path, sound):
    for person in sound["annotations"]:
        person["iscrowd"] = None
    with pytest.raises(InputError, match=r"annotation 101: iscrowd is neither.* \(and 2 more\)$"):
        read(tmp_path, sound).require_sound()


def test_the_files_own_count_of_keypoints_stays(tmp_path, sound):
    sound["annotations"][0]["num_keypoints"] = 3
    assert read(tmp_path, sound).people[1][0]["num_keypoints"] == 3


@pytest.mark.parametrize(
    ("iscrowd", "num_keypoints", "kept"), [(0, 5, True), (0, 0, True), (1, 0, False), (1, 5, True)]
)
def test_people_kept(iscrowd, num_keypoints, kept):
    assert is_kept({"iscrowd": iscrowd, "num_keypoints": num_keypoints}) == kept
