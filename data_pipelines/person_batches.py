"""Prepared records -> batches for top-down methods: a row is one person's crop.

The order, its restart and its sharing are `input_pipeline`'s, with persons in place of records.

Legend for shapes: N persons, B rows of a batch, K keypoints, H and W the crop's size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.annotations import is_kept
from data_pipelines.augmentation import numbers_of
from data_pipelines.config import PersonDataConfig
from data_pipelines.input_pipeline import Batch, Records
from data_pipelines.person_augmentation import augment, draw, warp_keypoints, warp_person
from data_pipelines.pixel_augmentation import change_pixels
from data_pipelines.records import Record, image_pixels
from data_pipelines.sampling import sample_place
from data_pipelines.tf_stream import zeros
from pinet_jax.boxes import crop_region, usable_box
from pinet_jax.errors import InputError
from pinet_jax.frames import STRIDE

_CROWD_STREAM = 6  # tells these random numbers from all others


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
    box = usable_box(person["bbox"], image["height"], image["width"])
    return has_keypoints and box is not None


class _Crops:
    """Persons' crops; a sample of `input_pipeline.batches` is one person."""

    def __init__(
        self, records: Records, config: PersonDataConfig, shape: tuple[int, int], seed: int
    ) -> None:
        self._records, self._config = records, config
        self._shape, self._seed = shape, seed

    def empty(self, rows: int) -> Batch:
        """See `input_pipeline.Samples`."""
        height, width = self._shape
        keypoints = self._records.skeleton.num_keypoints
        return Batch(
            image=zeros((rows, height, width, 3), np.uint8),
            keypoints=np.zeros((rows, 1, keypoints, 3), np.float32),
            area=np.zeros((rows, 1), np.float32),
            valid_mask=np.ones((rows, height // STRIDE, width // STRIDE), np.uint8),
            mirrored=np.zeros(rows, bool),
            image_id=np.zeros(rows, np.int64),
        )

    def _crop(
        self, batch: Batch, row: int, record: Record, person: int, key: tuple[int, int, int]
    ) -> None:
        """Makes a row of one of a record's people, who has a box, augmented as a key has it."""
        skeleton, shape = self._records.skeleton, self._shape
        config = self._config.augmentation
        pixels, keypoints = image_pixels(record), record["keypoints"][person]
        height, width = pixels.shape[:2]
        box = usable_box(record["boxes"][person], height, width)
        assert box is not None
        crop = augment(
            config, crop_region(box, shape), keypoints, draw(*key), skeleton, shape, width
        )
        batch["image"][row] = warp_person(pixels, crop, shape)
        change_pixels(batch["image"][row], config.pixels, key)
        batch["keypoints"][row, 0] = warp_keypoints(
            keypoints, crop, shape, width, skeleton.mirror_permutation
        )
        batch["area"][row, 0] = float(record["area"][person]) * crop.zoom(shape) ** 2
        batch["mirrored"][row] = crop.mirrored
        batch["image_id"][row] = record["image_id"]


class PreparedCrops(_Crops):
    """The persons of a split who are trained on."""

    def __init__(
        self,
        records: Records,
        persons: Persons,
        config: PersonDataConfig,
        shape: tuple[int, int],
        seed: int,
    ) -> None:
        """Takes the persons.

        Args:
            records: an opened split.
            persons: of the split, from `find_persons`.
            config: the crops' augmentation.
            shape: H and W.
            seed: of order and augmentation, 0 or more.
        """
        super().__init__(records, config, shape, seed)
        self._persons = persons

    def __len__(self) -> int:
        return len(self._persons.record)

    def fill(self, batch: Batch, row: int, number: int) -> None:
        """See `input_pipeline.Samples`."""
        epoch, place = sample_place(len(self), self._seed, number)
        record = self._records[int(self._persons.record[place])]
        person = int(self._persons.place[place])
        self._crop(batch, row, record, person, (self._seed, epoch, place))


class CrowdCrops(_Crops):
    """Persons of records without end: so many samples of each record, one after the other."""

    def __init__(
        self,
        records: Records,
        samples_of_a_record: int,
        config: PersonDataConfig,
        shape: tuple[int, int],
        seed: int,
    ) -> None:
        """Args: as `PreparedCrops`; a record with fewer people has them come again."""
        super().__init__(records, config, shape, seed)
        self._each = samples_of_a_record

    def fill(self, batch: Batch, row: int, number: int) -> None:
        """See `input_pipeline.Samples`; where nobody is seen, the row stays black."""
        index, turn = divmod(number, self._each)
        record = self._records[index]
        people = [
            person
            for person, box in enumerate(record["boxes"])
            if usable_box(box, record["height"], record["width"]) is not None
        ]
        if people:
            # In a random order: a renderer's is that of depth.
            order = np.argsort(numbers_of((_CROWD_STREAM, self._seed, index), len(people)))
            person = people[order[turn % len(people)]]
            self._crop(batch, row, record, person, (self._seed, 0, number))
