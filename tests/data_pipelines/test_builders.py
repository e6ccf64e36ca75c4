"""Prepared records: what goes in comes out, in order, from every dataset's layout."""

import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from data_pipelines import records
from data_pipelines.annotations import read_annotations
from data_pipelines.builders import base
from data_pipelines.builders.coco_keypoints import CocoKeypoints
from data_pipelines.builders.crowdpose import CrowdPose
from data_pipelines.builders.custom import Custom
from data_pipelines.builders.ochuman import OCHuman
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton
from tests.conftest import ROOT, shared_data
from tests.data_pipelines import coco_files


def _build(builder, content, folder, split="val", **kwargs):
    coco_files.write_images(folder / "images", content)
    file = coco_files.write_json(folder / "people.json", content)
    skeleton = kwargs.get("skeleton", getattr(builder, "skeleton", None))
    annotations = read_annotations([file], skeleton, folder / "images")
    made = builder(data_dir=folder / "out", splits={split: annotations}, **kwargs)
    made.download_and_prepare(download_dir=folder / "downloads")
    return records.open_split(made.name, split, folder / "out")


def test_records_hold_the_original_bytes_and_the_labels(tmp_path):
    content = coco_files.content(3)
    content["annotations"].append(coco_files.person(200, 2, bbox=[1, 2, 3, 4.5]))
    split = _build(OCHuman, content, tmp_path)
    assert len(split) == 3
    for number, image in enumerate(content["images"]):
        record = split.record(number)
        people = [p for p in content["annotations"] if p["image_id"] == image["id"]]
        assert record["image"] == (tmp_path / "images" / image["file_name"]).read_bytes()
        assert (record["image_id"], record["file_name"]) == (image["id"], image["file_name"])
        assert (record["height"], record["width"]) == (32, 48)
        assert (record["valid_mask"], record["crowd_index"]) == (b"", -1.0)
        expected = np.array([p["keypoints"] for p in people], np.float32).reshape(-1, 17, 3)
        np.testing.assert_array_equal(record["keypoints"], expected)
        np.testing.assert_array_equal(record["boxes"], [p["bbox"] for p in people])
        np.testing.assert_array_equal(record["annotation_id"], [p["id"] for p in people])
        areas = [p["bbox"][2] * p["bbox"][3] for p in people]  # not the segmentation's
        np.testing.assert_array_equal(record["area"], areas)
        assert record["area"].dtype == record["boxes"].dtype == np.float32


def test_skeleton_annotations_and_index_lie_beside_the_records(tmp_path):
    content = coco_files.content(3)
    content["annotations"][1]["keypoints"][2::3] = [0] * 16 + [2]
    split = _build(OCHuman, content, tmp_path)
    assert split.skeleton == COCO_17
    beside = json.loads(split.annotations_file.read_text())
    assert beside["images"] == content["images"]
    assert beside["annotations"] == content["annotations"]
    np.testing.assert_array_equal(split.index.image_id, [1, 2, 3])
    np.testing.assert_array_equal(split.index.labelled_keypoints, [17, 1, 17])
    np.testing.assert_array_equal(split.index.people, [1, 1, 1])
    np.testing.assert_array_equal(split.index.width, [48, 48, 48])


def test_shards_keep_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(base, "RECORDS_PER_SHARD", 3)
    split = _build(OCHuman, coco_files.content(8), tmp_path)
    assert len(list(split.folder.glob("*array_record*"))) == 3
    assert [split[i]["image_id"] for i in range(len(split))] == list(range(1, 9))


def test_a_split_is_a_sequence(tmp_path):
    split = _build(OCHuman, coco_files.content(2), tmp_path)
    assert [record["image_id"] for record in split] == [1, 2]
    for index in (-1, 2):
        with pytest.raises(IndexError, match="no record"):
            split.record(index)


def test_many_threads_read_the_same(tmp_path):
    split = _build(OCHuman, coco_files.content(6), tmp_path)
    numbers = list(range(6)) * 20
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(split.record, numbers))
    assert [record["image_id"] - 1 for record in read] == numbers


def test_tfds_reads_the_records_too(tmp_path):
    split = _build(OCHuman, coco_files.content(2), tmp_path)
    source = tfds.data_source("ochuman", split="val", data_dir=tmp_path / "out")
    for number, example in enumerate(source):
        record = split.record(number)
        np.testing.assert_array_equal(example["keypoints"], record["keypoints"])
        np.testing.assert_array_equal(example["image"], records.image_pixels(record))


def test_coco_cuts_out_crowds_and_keeps_labelled_people(tmp_path):
    content = coco_files.content(2)
    unlabelled = {"keypoints": [0] * 51, "num_keypoints": 0}
    content["annotations"] += [
        coco_files.person(200, 1, iscrowd=1, **unlabelled, bbox=[40, 0, 8, 8], segmentation=None),
        coco_files.person(201, 1, **unlabelled, segmentation=[[0, 20, 10, 20, 10, 30, 0, 30]]),
    ]
    split = _build(CocoKeypoints, content, tmp_path)
    record = split.record(0)
    assert record["annotation_id"].tolist() == [101, 201]
    expected = np.ones((32, 48), np.uint8)
    expected[:8, 40:] = 0
    expected[20:30, :10] = 0
    np.testing.assert_array_equal(records.valid_pixels(record), expected)
    assert split.record(1)["valid_mask"] == b""
    assert records.valid_pixels(split.record(1)).all()


def test_cocos_training_images_have_annotations_and_its_val_has_all(tmp_path):
    content = coco_files.content(3)
    del content["annotations"][1]
    train = _build(CocoKeypoints, content, tmp_path / "a", split="train")
    assert train.index.image_id.tolist() == [1, 3]
    assert [record["image_id"] for record in train] == [1, 3]
    val = _build(CocoKeypoints, content, tmp_path / "b", split="val")
    assert val.index.image_id.tolist() == [1, 2, 3]
    assert val.record(1)["keypoints"].shape == (0, 17, 3)


def test_crowd_index_is_kept(tmp_path):
    content = coco_files.content(2, CROWDPOSE_14)
    content["images"][0]["crowdIndex"] = 0.25
    split = _build(CrowdPose, content, tmp_path, split="test")
    assert [record["crowd_index"] for record in split] == [0.25, -1.0]
    assert json.loads(split.annotations_file.read_text())["images"][0]["crowdIndex"] == 0.25


def test_any_skeleton_builds(tmp_path):
    stick = Skeleton("stick", ("top", "bottom"), (), (0.1, 0.1), ((0, 1),))
    split = _build(Custom, coco_files.content(2, stick), tmp_path, name="sticks", skeleton=stick)
    assert split.skeleton == stick
    assert split.record(0)["keypoints"].shape == (1, 2, 3)
    assert split.folder.parent.name == "sticks"


def test_image_pixels_ignore_the_cameras_orientation(tmp_path):
    from PIL import Image

    content = coco_files.content(1)
    split = _build(OCHuman, content, tmp_path)
    expected = np.asarray(Image.open(tmp_path / "images" / "0001.jpg"))
    np.testing.assert_array_equal(records.image_pixels(split.record(0)), expected)
    file = tmp_path / "turned" / "images" / "0001.jpg"
    file.parent.mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.open(tmp_path / "images" / "0001.jpg").save(file, exif=exif)
    annotations = read_annotations([tmp_path / "people.json"], COCO_17, file.parent)
    assert annotations.faults == ()
    turned = {**split.record(0), "image": file.read_bytes()}
    assert records.image_pixels(turned).shape == (32, 48, 3)


def test_reading_needs_no_tensorflow(tmp_path):
    split = _build(OCHuman, coco_files.content(1), tmp_path)
    script = (
        "import sys; from data_pipelines.records import open_split, image_pixels;"
        "image_pixels(open_split(sys.argv[1], 'val').record(0));"
        "assert 'tensorflow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script, str(split.folder)], check=True, cwd=ROOT)


def test_masks_survive_their_encoding():
    mask = (np.random.default_rng(0).random((9, 7)) < 0.5).astype(np.uint8)
    record = {"height": 9, "width": 7, "valid_mask": records.encode_mask(mask)}
    np.testing.assert_array_equal(records.valid_pixels(record), mask)  # type: ignore[arg-type]


def test_a_lost_shard_or_split_is_named(tmp_path):
    split = _build(OCHuman, coco_files.content(2), tmp_path)
    with pytest.raises(InputError, match="no split 'test'; it has val"):
        records.open_split("ochuman", "test", tmp_path / "out")
    next(split.folder.glob("*array_record*")).unlink()
    with pytest.raises(InputError, match="shard is gone"):
        records.open_split("ochuman", "val", tmp_path / "out")


def test_nothing_prepared_is_said(tmp_path):
    with pytest.raises(InputError, match="run `pinet-jax prepare`"):
        records.open_split("ochuman", "val", tmp_path)


def test_a_folder_is_found_by_name_and_by_path(tmp_path):
    split = _build(OCHuman, coco_files.content(1), tmp_path)
    for place in (split.folder, split.folder.parent):
        assert records.dataset_folder(place) == split.folder
    assert records.dataset_folder("ochuman", tmp_path / "out") == split.folder


def test_crowdposes_trainval_is_one_file_or_two(tmp_path):
    two = CrowdPose.sources(tmp_path)["trainval"].annotations
    assert [file.name for file in two] == ["crowdpose_train.json", "crowdpose_val.json"]
    coco_files.write_json(tmp_path / "json" / "crowdpose_trainval.json", {})
    one = CrowdPose.sources(tmp_path)["trainval"].annotations
    assert [file.name for file in one] == ["crowdpose_trainval.json"]


def test_real_coco_comes_out_as_it_is_in_the_files(tmp_path):
    data = shared_data("coco")
    source = CocoKeypoints.sources(data)["train"]
    annotations = read_annotations(source.annotations, COCO_17, source.images)
    builder = CocoKeypoints(data_dir=tmp_path, splits={"train": annotations})
    builder.download_and_prepare(download_dir=tmp_path / "downloads")
    split = records.open_split("coco_keypoints", "train", tmp_path)
    content = json.loads(source.annotations[0].read_text())
    assert len(split) == 28
    for record, image in zip(split, content["images"], strict=True):
        people = [
            p
            for p in content["annotations"]
            if p["image_id"] == image["id"] and (not p["iscrowd"] or p["num_keypoints"])
        ]
        assert record["annotation_id"].tolist() == [p["id"] for p in people]
        pixels = cv2.imread(
            str(source.images / image["file_name"]),
            cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION,
        )
        np.testing.assert_array_equal(records.image_pixels(record), pixels[:, :, ::-1])
    shutil.rmtree(tmp_path)
