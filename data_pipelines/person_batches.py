"""Prepared records -> batches for top-down methods: a row is one person's crop.

The order, its restart and its sharing are `input_pipeline`'s, with persons in place of records.

Legend for shapes: N persons, B rows of a batch, K keypoints, H and W the crop's size.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from data_pipelines.annotations import is_kept
from data_pipelines.config import PersonDataConfig
from data_pipelines.input_pipeline import Batch, Records, Share, sample_order, usable_cores
from data_pipelines.person_augmentation import Draw, augment, draw, warp_keypoints, warp_person
from data_pipelines.records import image_pixels
from pinet_jax.boxes import clean_box, crop_region
from pinet_jax.errors import InputError
from pinet_jax.frames import STRIDE
from pinet_jax.threads import work_ahead


class Persons(NamedTuple):
    """The persons of a split that are trained on.

    Attributes:
        record: int64 [N], the number of their records.
        place: int64 [N], their row among a record's people.
    """

    record: np.ndarray
    place: np.ndarray


def find_persons(annotations_file: Path) -> Persons:
    """The persons that have a labelled keypoint and a box in their image, and are no crowds.

    Args:
        annotations_file: of a prepared split; its images are the records.

    Raises:
        InputError: there is none.
    """
    content = json.loads(Path(annotations_file).read_bytes())
    people: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in content["images"]}
    for person in filter(is_kept, content["annotations"]):
        people[person["image_id"]].append(person)
    found = [
        (record, place)
        for record, image in enumerate(content["images"])
        for place, person in enumerate(people[image["id"]])
        if _is_trained(person, image)
    ]
    if not found:
        raise InputError(
            f"{annotations_file}: no person has labelled keypoints and a box in the image; "
            "prepare other data"
        )
    record, place = np.array(found, np.int64).T
    return Persons(record, place)


def _is_trained(person: dict[str, Any], image: dict[str, Any]) -> bool:
    # The released code asks for a keypoint list with a number above 0, whatever `num_keypoints`.
    has_keypoints = not person["iscrowd"] and max(person["keypoints"]) > 0 and person["area"] > 0
    clean = clean_box(person["bbox"], image["height"], image["width"])
    return has_keypoints and clean is not None and bool(clean[2:].any())


def training_batches(
    records: Records,
    persons: Persons,
    config: PersonDataConfig,
    crop_shape: tuple[int, int],
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: Share | None = None,
    workers: int | None = None,
) -> Generator[Batch]:
    """Augmented batches of crops without end; see `input_pipeline.training_batches`.

    Args:
        records: an opened split.
        persons: of the split, from `find_persons`.
        config: the crops' augmentation.
        crop_shape: H and W.
        batch_size: persons of all processes together.
        seed: of order and augmentation, 0 or more.
        start_step: where to begin; costs nothing, and later batches are as if begun with 0.
        share: which rows of every batch this process makes; all if None.
        workers: threads; as many as this process may use cores if None.

    Returns:
        Batches whose rows have one person each, and an image the size of the crop.

    Raises:
        InputError: a record is broken, or the processes cannot share the batch.
    """
    rows = (share or Share()).rows(batch_size)

    def make(step: int) -> Batch:
        epochs, places = sample_order(len(persons.record), batch_size, seed, step)
        crops = [
            _cropped(records, persons, place, config, draw(seed, epoch, place), crop_shape)
            for epoch, place in zip(epochs[rows].tolist(), places[rows].tolist(), strict=True)
        ]
        return _stacked(crops)

    cv2.setNumThreads(1)  # the workers are as many as the cores already
    workers = workers or usable_cores()
    steps = itertools.count(start_step)
    made = work_ahead(make, steps, threads=workers, ahead=workers + 1)
    return (batch for _, batch in made)


class _Crop(NamedTuple):
    """One person: uint8 [H, W, 3]; [K, 3] and area in crop pixels; mirrored or not; whose image."""

    pixels: np.ndarray
    keypoints: np.ndarray
    area: float
    mirrored: bool
    image_id: int


def _cropped(
    records: Records,
    persons: Persons,
    number: int,
    config: PersonDataConfig,
    drawn: Draw,
    shape: tuple[int, int],
) -> _Crop:
    """Reads, decodes and augments a person."""
    record, place = records[int(persons.record[number])], int(persons.place[number])
    pixels, keypoints, skeleton = image_pixels(record), record["keypoints"][place], records.skeleton
    height, width = pixels.shape[:2]
    box = clean_box(record["boxes"][place], height, width)
    assert box is not None  # `find_persons` has looked at it
    region = crop_region(box, shape)
    crop = augment(config.augmentation, region, keypoints, drawn, skeleton, shape, width)
    return _Crop(
        warp_person(pixels, crop, shape),
        warp_keypoints(keypoints, crop, shape, width, skeleton.mirror_permutation),
        float(record["area"][place]) * crop.zoom(shape) ** 2,
        crop.mirrored,
        record["image_id"],
    )


def _stacked(crops: Sequence[_Crop]) -> Batch:
    pixels, keypoints, area, mirrored, image_ids = zip(*crops, strict=True)
    height, width = pixels[0].shape[:2]
    return Batch(
        image=np.stack(pixels),
        keypoints=np.stack(keypoints)[:, None].astype(np.float32),
        area=np.array(area, np.float32)[:, None],
        valid_mask=np.ones((len(crops), height // STRIDE, width // STRIDE), np.uint8),
        mirrored=np.array(mirrored),
        image_id=np.array(image_ids, np.int64),
    )
