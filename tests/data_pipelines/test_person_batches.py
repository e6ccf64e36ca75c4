"""Batches of persons: who is trained on, restarts, and that crops and keypoints fit."""

import contextlib
import dataclasses
import itertools
import json

import cv2
import numpy as np
import pytest

from data_pipelines.config import PersonAugmentationConfig, PersonDataConfig
from data_pipelines.input_pipeline import batches
from data_pipelines.person_batches import PreparedCrops, find_persons
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.memory_records import MemoryRecords, make_records

CONFIG, SHAPE = PersonDataConfig(), (64, 32)
UPRIGHT = PersonAugmentationConfig(
    half_body_probability=0, scale=0, rotation_probability=-1, flip_probability=-1
)


def annotated(records: MemoryRecords, folder, change=lambda person: None) -> MemoryRecords:
    """The records with their annotation file; `change` may spoil a person."""
    people = []
    for record in records.records:
        for place in range(len(record["area"])):
            person = {
                "id": len(people),
                "image_id": record["image_id"],
                "iscrowd": 0,
                "num_keypoints": 17,
                "keypoints": record["keypoints"][place].ravel().tolist(),
                "bbox": record["boxes"][place].tolist(),
                "area": float(record["area"][place]),
            }
            change(person)
            people.append(person)
    images = [
        {"id": r["image_id"], "height": r["height"], "width": r["width"]} for r in records.records
    ]
    records.annotations_file = folder / "annotations.json"
    records.annotations_file.write_text(json.dumps({"images": images, "annotations": people}))
    return records


def take(count, records, config, *, seed, **options):
    persons = find_persons(records.annotations_file)
    crops = PreparedCrops(records, persons, config, SHAPE, seed)
    stream = batches(crops, workers=2, **options)
    with contextlib.closing(stream):
        return list(itertools.islice(stream, count))


def test_an_epoch_has_every_person_once_and_goes_on_after_a_restart(tmp_path):
    records = annotated(make_records(5), tmp_path)
    persons = sum(len(record["area"]) for record in records.records)
    whole = take(8, records, CONFIG, batch_size=persons, seed=3)
    for batch in whole:
        expected = [r["image_id"] for r in records.records for _ in r["area"]]
        assert sorted(batch["image_id"].tolist()) == expected
    rest = take(3, records, CONFIG, batch_size=persons, seed=3, start_step=5)
    for batch, again in zip(whole[5:], rest, strict=True):
        for name in batch:
            np.testing.assert_array_equal(batch[name], again[name])
    assert (whole[0]["image"] != whole[1]["image"]).any()


def test_crowds_and_people_without_labels_or_box_are_left_out(tmp_path):
    changes = {
        0: {"iscrowd": 1},
        1: {"keypoints": [0] * 51},
        2: {"area": 0.0},
        3: {"bbox": [500.0, 0.0, 5.0, 5.0]},
        # No label counted, but keypoints are there: the released code trains on them.
        4: {"num_keypoints": 0},
    }
    records = annotated(make_records(6), tmp_path, lambda p: p.update(changes.get(p["id"], {})))
    persons = find_persons(records.annotations_file)
    places = [(n, i) for n, r in enumerate(records.records) for i in range(len(r["area"]))]
    assert list(zip(persons.record, persons.place, strict=True)) == places[4:]


def test_no_person_at_all(tmp_path):
    records = annotated(make_records(2), tmp_path, lambda person: person.update(iscrowd=1))
    with pytest.raises(InputError, match="no person has labelled keypoints"):
        find_persons(records.annotations_file)


def test_a_white_pixel_and_its_keypoint_coincide(tmp_path):
    records = make_records(4, seed=1)
    for record in records.records:
        image = np.zeros((60, 80, 3), np.uint8)
        x, y = 40, 25
        image[y, x] = 255
        record.update(image=cv2.imencode(".png", image)[1].tobytes(), height=60, width=80)
        record["keypoints"][..., :2] = [x, y]
        record["boxes"][:] = [30, 10, 20, 35]
    records = annotated(records, tmp_path)
    for config in (UPRIGHT, PersonAugmentationConfig(half_body_probability=0)):
        config = dataclasses.replace(CONFIG, augmentation=config)
        (batch,) = take(1, records, config, batch_size=8, seed=0)
        for image, keypoints in zip(batch["image"], batch["keypoints"][:, 0], strict=True):
            weight = image[..., 0].astype(float)
            rows, columns = np.indices(weight.shape)
            found = np.array([(columns * weight).sum(), (rows * weight).sum()]) / weight.sum()
            # OpenCV rounds positions to 1/32 of an image pixel, which is 2 to 3 crop pixels here.
            np.testing.assert_allclose(keypoints[:, :2], np.tile(found, (17, 1)), atol=0.2)


def test_upright_crops_show_the_box(tmp_path):
    records = annotated(make_records(3), tmp_path)
    config = dataclasses.replace(CONFIG, augmentation=UPRIGHT)
    (batch,) = take(1, records, config, batch_size=4, seed=0)
    assert batch["image"].shape == (4, 64, 32, 3)
    assert batch["keypoints"].shape == (4, 1, COCO_17.num_keypoints, 3)
    assert (batch["area"] > 0).all() and batch["valid_mask"].shape == (4, 16, 8)
