"""Every fault by name, nothing dropped in silence, masks as pycocotools has them."""

import pytest
from PIL import Image

from data_pipelines.annotations import read_annotations
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import shared_data
from tests.data_pipelines import coco_files
from tests.data_pipelines.coco_files import one_fault, read


def test_a_sound_file_comes_back_whole(tmp_path, sound):
    annotations = read(tmp_path, sound)
    assert annotations.faults == ()
    assert list(annotations.images) == sound["images"]
    assert [p for people in annotations.people.values() for p in people] == sound["annotations"]


def test_to_coco_is_read_back_the_same(tmp_path, sound):
    annotations = read(tmp_path, sound)
    again = read(tmp_path, annotations.to_coco())
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
    ("keypoints", None, "keypoints are no list of numbers (missing or null)"),
    ("bbox", [1, 2, 5, -3], "empty or negative box ([1, 2, 5, -3])"),
    ("bbox", [1, 2, 1e-30, 1e-30], "empty or negative box"),
    ("bbox", [1, 2, float("nan"), 3], "NaN or infinite box"),
    ("bbox", [1, 2, 3], "bbox is no list of four numbers"),
    ("image_id", 77, "annotation without image (image_id 77)"),
    ("image_id", "2", "annotation without image (image_id '2')"),
    ("iscrowd", 2, "iscrowd is neither 0 nor 1"),
    ("num_keypoints", -1, "num_keypoints is no count"),
    ("num_keypoints", 0, "num_keypoints contradicts the keypoints (0, 17 labelled)"),
    ("keypoints", [1, 2, 0] * 17, "num_keypoints contradicts the keypoints (17, 0 labelled)"),
    ("keypoints", [None, 2, 2] + [1, 2, 2] * 16, "keypoints are no list of numbers"),
    ("area", float("nan"), "area is no finite, positive number"),
    ("id", 101, "duplicate id"),
]


@pytest.mark.parametrize(("field", "value", "words"), PERSON_FAULTS)
def test_a_bad_person_is_named_and_left_out_alone(tmp_path, sound, field, value, words):
    sound["annotations"][1][field] = value
    annotations = read(tmp_path, sound)
    number = 101 if field == "id" else 102
    assert one_fault(annotations).startswith(
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
    annotations = read(tmp_path, sound)
    fault = one_fault(annotations)
    assert fault.startswith(f"{tmp_path / 'people.json'}: image 2: {words}")
    assert "its 1 annotation(s) go with it" in fault
    assert [image["id"] for image in annotations.images] == [1, 3]
    assert set(annotations.people) == {1, 3}


def test_a_duplicate_image_id_is_named_and_the_first_stays(tmp_path, sound):
    sound["images"].append(dict(sound["images"][0], file_name="0002.jpg"))
    annotations = read(tmp_path, sound)
    assert "image 1: duplicate id" in one_fault(annotations)
    assert annotations.images[0]["file_name"] == "0001.jpg"


@pytest.mark.parametrize("field", ["images", "annotations"])
@pytest.mark.parametrize("record", [None, 3, [], "x", {}, {"id": "7"}, {"id": 2**63}, {"id": True}])
def test_a_record_without_id_goes_by_its_place(tmp_path, sound, field, record):
    sound[field].append(record)
    assert f"people.json: {field}[3]: " in one_fault(read(tmp_path, sound))


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
    assert f"image 2: broken image ({file}" in one_fault(read(tmp_path, sound))


def test_a_broken_png_is_named(tmp_path, sound):
    file = tmp_path / "images" / "0002.png"
    Image.new("RGB", (48, 32)).save(file)
    file.write_bytes(file.read_bytes()[:-20])
    sound["images"][1]["file_name"] = "0002.png"
    assert f"image 2: broken image ({file}" in one_fault(read(tmp_path, sound))


@pytest.mark.parametrize("name", ["0002.heic", "renamed.jpg"])
def test_a_picture_of_another_kind_is_named(tmp_path, sound, name):
    (tmp_path / "images" / name).write_bytes(b"\0\0\0\x1cftypheic")
    sound["images"][1]["file_name"] = name
    line = one_fault(read(tmp_path, sound))
    assert "image 2: broken image" in line and "convert it" in line


@pytest.mark.parametrize("suffix", ["bmp", "webp", "tif", "gif"])
def test_other_kinds_of_pictures_are_sound(tmp_path, sound, suffix):
    Image.new("RGB", (48, 32)).save(tmp_path / "images" / f"0002.{suffix}")
    sound["images"][1]["file_name"] = f"0002.{suffix}"
    assert read(tmp_path, sound).faults == ()


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
    assert one_fault(annotations).startswith(f"{file}: {words}")
    assert annotations.unreadable == annotations.faults
    assert annotations.images == ()


def test_a_missing_file_is_named(tmp_path):
    annotations = read_annotations([tmp_path / "none.json"], COCO_17)
    assert (
        one_fault(annotations)
        == f"{tmp_path / 'none.json'}: not readable (No such file or directory)"
    )


def test_all_faults_are_listed(tmp_path, sound):
    sound["images"][0]["width"] = 50
    sound["annotations"][1]["bbox"] = [1, 1, -1, 2]
    sound["annotations"][1]["keypoints"] = [0.0]
    sound["annotations"][2]["image_id"] = 9
    records = [fault.record for fault in read(tmp_path, sound).faults]
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
