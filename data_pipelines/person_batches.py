"""Prepared records -> batches for top-down methods: a row is one person's crop.

The order, its restart and its sharing are `input_pipeline`'s, with persons in place of records.

Legend for shapes: N persons, B rows of a batch, K keypoints, H and W the crop's size.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import tensorflow as tf

from data_pipelines.annotations import is_kept
from data_pipelines.config import PersonDataConfig
from data_pipelines.input_pipeline import (
    NO_IMAGE,
    STRIDE,
    Batch,
    BatchMaker,
    Records,
    Sample,
    Share,
    sample_order,
    stream,
)
from data_pipelines.person_augmentation import Draw, augment, draw, warp_keypoints, warp_person
from data_pipelines.records import image_pixels
from pinet_jax.boxes import clean_box, crop_region
from pinet_jax.errors import InputError


class Persons(NamedTuple):
    """The persons of a split that are trained on.

    Attributes:
        record: int64 [N], the number of their records.
        place: int64 [N], their row among a record's people.
    """

    record: np.ndarray
    place: np.ndarray


class AnnotatedRecords(Records, Protocol):
    """What is read here of a `data_pipelines.records.Split`."""

    annotations_file: Path


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
    records: AnnotatedRecords,
    config: PersonDataConfig,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: Share | None = None,
    workers: int | None = None,
) -> Generator[Batch]:
    """Augmented batches of crops without end; see `input_pipeline.training_batches`.

    Returns:
        Batches whose rows have one person each, and an image the size of the crop.
    """
    persons = find_persons(records.annotations_file)
    rows = (share or Share()).rows(batch_size)

    def plan(step: int) -> list[Sample]:
        epochs, places = sample_order(len(persons.record), batch_size, seed, step)
        pairs = zip(epochs[rows].tolist(), places[rows].tolist(), strict=True)
        return [Sample(place, draw(seed, epoch, place)) for epoch, place in pairs]

    maker = _PersonBatchMaker(records, persons, config, plan, rows.stop - rows.start)
    return stream(maker, tf.data.Dataset.range(start_step, np.iinfo(np.int64).max), workers)


class _PersonBatchMaker(BatchMaker):
    """Reads, decodes and crops the persons of a step; safe to call from many threads."""

    def __init__(
        self,
        records: Records,
        persons: Persons,
        config: PersonDataConfig,
        plan: Callable[[int], list[Sample]],
        rows: int,
    ) -> None:
        """Args: where to read and what, what to make, and as `BatchMaker`'s.

        The record of a sample is a person's number.
        """
        super().__init__(plan, rows)
        self._records = records
        self._persons = persons
        self._config = config

    def _empty(self) -> Batch:
        rows, (height, width) = self._rows, self._config.crop_shape
        keypoints = self._records.skeleton.num_keypoints
        return Batch(
            image=np.zeros((rows, height, width, 3), np.uint8),
            keypoints=np.zeros((rows, 1, keypoints, 3), np.float32),
            area=np.zeros((rows, 1), np.float32),
            valid_mask=np.ones((rows, height // STRIDE, width // STRIDE), np.uint8),
            image_id=np.full(rows, NO_IMAGE, np.int64),
        )

    def _fill(self, batch: Batch, row: int, sample: Sample) -> None:
        person, shape = sample.record, self._config.crop_shape
        record = self._records[int(self._persons.record[person])]
        place, skeleton = int(self._persons.place[person]), self._records.skeleton
        pixels, keypoints = image_pixels(record), record["keypoints"][place]
        height, width = pixels.shape[:2]
        box = clean_box(record["boxes"][place], height, width)
        assert box is not None and isinstance(sample.random, Draw)
        config, region = self._config.augmentation, crop_region(box, shape)
        crop = augment(config, region, keypoints, sample.random, skeleton, shape, width)
        batch["image"][row] = warp_person(pixels, crop, shape)
        batch["keypoints"][row, 0] = warp_keypoints(
            keypoints, crop, shape, width, skeleton.mirror_permutation
        )
        zoom = shape[1] / (float(crop.region.scale[0]) * 200)
        batch["area"][row, 0] = record["area"][place] * zoom**2
        batch["image_id"][row] = record["image_id"]
