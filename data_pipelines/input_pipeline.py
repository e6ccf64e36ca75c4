"""Prepared records -> batches: sharded by process, resumable from any step, prefetched.

What a batch holds depends on (seed, step) alone: not on when training was interrupted, nor on how
many processes share it. The samples of a training run are numbered through: sample n belongs to
epoch n // N, and step s takes the samples s * B .. (s + 1) * B - 1 of all processes together. So
each epoch sees every record exactly once, a batch may end one epoch and begin the next, and even
fewer records than a batch has rows fill it. A process takes one of equal, contiguous shares of
each batch: the shares of all processes, one after another, are the batch.

`batches` makes them of images or of persons alike; tf.data works ahead (`tf_stream`).

Legend for shapes: N records, B images of a batch, P people (padded), K keypoints, S the side of
the input, R = S / 4 that of the valid masks.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from collections.abc import Generator, Iterable, Iterator
from typing import NotRequired, Protocol, TypedDict, cast

import jax
import numpy as np

from data_pipelines.augmentation import (
    random_numbers,
    sample_augmentation,
    squared_reach,
    warp_area,
    warp_corners,
    warp_image,
    warp_keypoints,
    warp_mask,
)
from data_pipelines.config import DataConfig
from data_pipelines.records import Index, Record, image_pixels, valid_pixels
from data_pipelines.tf_stream import stream
from pinet_jax.errors import InputError
from pinet_jax.frames import STRIDE
from pinet_jax.skeletons import Skeleton

_ORDER_STREAM = 0  # tells these random numbers from the augmentation's


class Batch(TypedDict):
    """A process's share of a batch, on the host."""

    image: np.ndarray  # uint8 [B, S, S, 3], RGB
    keypoints: np.ndarray  # float32 [B, P, K, 3] (x, y, v), input pixels; padded rows all 0
    area: np.ndarray  # float32 [B, P], input pixels; padded 0
    # Not of crops of persons: float32 [B, P], input pixels, see `augmentation.squared_reach`;
    # float32 [B, P, 4, 2] of boxes, input pixels, see `warp_corners`.
    reach: NotRequired[np.ndarray]
    corners: NotRequired[np.ndarray]
    valid_mask: np.ndarray  # uint8 [B, R, R]
    fine_valid_mask: NotRequired[np.ndarray]  # uint8 [B, 2R, 2R], where the config asks for it
    mirrored: np.ndarray  # bool [B]; see `pinet_jax.targets.on_map`
    image_id: np.ndarray  # int64 [B]


class Records(Protocol):
    """What is read here of a `data_pipelines.records.Split`."""

    skeleton: Skeleton

    @property
    def index(self) -> Index:
        """A row a record."""

    def __getitem__(self, index: int) -> Record:
        """Reads one record."""


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of every batch a process makes."""

    process_index: int = 0
    process_count: int = 1

    def rows(self, batch_size: int) -> slice:
        """This process's rows of a batch of all processes.

        Raises:
            InputError: the rows cannot be shared equally.
        """
        if batch_size < 1 or batch_size % self.process_count:
            raise InputError(
                f"batch size {batch_size}: use a multiple of the {self.process_count} process(es)"
            )
        count = batch_size // self.process_count
        return slice(self.process_index * count, (self.process_index + 1) * count)


class Samples(Protocol):
    """What the rows of batches are made of: images, or persons."""

    def __len__(self) -> int:
        """How many an epoch has."""

    def empty(self, rows: int) -> Batch:
        """A batch of black images without people."""

    def fill(self, batch: Batch, row: int, epoch: int, place: int) -> None:
        """Makes a row: sample number `place`, augmented as in `epoch`; many threads call this."""


def batches(
    samples: Samples,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: Share = Share(),
    workers: int | None = None,
) -> Generator[Batch]:
    """Batches of samples without end, the first of them that of `start_step`.

    Args:
        samples: what the rows are made of.
        batch_size: rows of all processes together.
        seed: of the order, 0 or more.
        start_step: where to begin; costs nothing, and later batches are as if begun with 0.
        share: which rows of every batch this process makes.
        workers: threads; as many as this process may use cores if None.

    Raises:
        InputError: a record is broken, or the processes cannot share the batch.
    """
    rows = share.rows(batch_size)

    def make(step: int) -> Batch:
        epochs, places = sample_order(len(samples), batch_size, seed, step)
        batch = samples.empty(rows.stop - rows.start)
        mine = zip(epochs[rows].tolist(), places[rows].tolist(), strict=True)
        for row, (epoch, place) in enumerate(mine):
            samples.fill(batch, row, epoch, place)
        return batch

    return stream(make, samples.empty(0), start_step=start_step, workers=workers)


def training_batches(
    records: Records,
    config: DataConfig,
    *,
    batch_size: int,
    seed: int,
    start_step: int = 0,
    share: Share = Share(),
    workers: int | None = None,
) -> Generator[Batch]:
    """Augmented batches without end, the first of them that of `start_step`.

    Args:
        records: an opened split.
        config: which records, their augmentation, and the batch's sizes.
        batch_size: images of all processes together.
        seed: of order and augmentation, 0 or more.
        start_step: where to begin; costs nothing, and later batches are as if begun with 0.
        share: which rows of every batch this process makes.
        workers: threads; as many as this process may use cores if None.

    Raises:
        InputError: no record is left to train on, a record has more people than the batch has
            room for, or is broken; the processes cannot share the batch.
    """
    return batches(
        Images(records, config, seed),
        batch_size=batch_size,
        seed=seed,
        start_step=start_step,
        share=share,
        workers=workers,
    )


def prefetch_to_device(
    batches: Iterable[Batch], sharding: jax.sharding.Sharding, *, depth: int = 2
) -> Iterator[tuple[dict[str, jax.Array], np.ndarray]]:
    """Sends batches ahead of their use, so that the device need not wait for the bus.

    Args:
        batches: of this process.
        sharding: of a batch's first axis over all devices of all processes.
        depth: batches on their way.

    Returns:
        Pairs of what the device has (all but the image ids) and the image ids of this process's
        rows, int64 [B], which stay on the host.
    """
    on_their_way: collections.deque[tuple[dict[str, jax.Array], np.ndarray]] = collections.deque()
    for batch in batches:
        rest = dict(batch)
        image_ids = cast(np.ndarray, rest.pop("image_id"))
        sent = jax.tree.map(
            functools.partial(jax.make_array_from_process_local_data, sharding), rest
        )
        on_their_way.append((sent, image_ids))
        if len(on_their_way) > depth:
            yield on_their_way.popleft()
    yield from on_their_way


def training_records(index: Index, config: DataConfig) -> np.ndarray:
    """The numbers of the records that are trained on, int64.

    Raises:
        InputError: there is none, or one of them has more people than `config.max_people`.
    """
    chosen = np.flatnonzero(index.labelled_keypoints >= config.min_keypoints)
    if len(chosen) == 0:
        raise InputError(
            f"{config.dataset}, split {config.train_split}: no image has min_keypoints = "
            f"{config.min_keypoints} labelled keypoints; lower --data.min-keypoints, or prepare "
            "other data"
        )
    _check_people(index, chosen, config.max_people)
    return chosen


def sample_order(
    num_records: int, batch_size: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The epoch and the record of each of a step's samples, int64 [B] both."""
    numbers = step * batch_size + np.arange(batch_size)
    epochs, places = np.divmod(numbers, num_records)
    records = np.empty_like(places)
    for epoch in np.unique(epochs):
        now = epochs == epoch
        records[now] = _epoch_order(num_records, seed, int(epoch))[places[now]]
    return epochs, records


@functools.lru_cache(maxsize=4)
def _epoch_order(num_records: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the records. By sorting: NumPy may change how it shuffles, not `random`."""
    numbers = np.random.default_rng((_ORDER_STREAM, seed, epoch)).random(num_records)
    return np.argsort(numbers, kind="stable")


def _check_people(index: Index, chosen: np.ndarray, max_people: int) -> None:
    people = index.people[chosen]
    if people.max(initial=0) > max_people:
        worst = int(people.argmax())
        raise _too_many(int(index.image_id[chosen[worst]]), int(people[worst]), max_people)


def _too_many(image_id: int, people: int, max_people: int) -> InputError:
    return InputError(
        f"image {image_id}: {people} people, but max_people is {max_people}; give "
        f"--data.max-people {people}"
    )


class Images:
    """The images of a split that are trained on, each with all of its people."""

    def __init__(self, records: Records, config: DataConfig, seed: int) -> None:
        """Chooses the images.

        Args:
            records: an opened split.
            config: which records, their augmentation, and the batch's sizes.
            seed: of the augmentation, 0 or more.

        Raises:
            InputError: see `training_records`.
        """
        self._records, self._config, self._seed = records, config, seed
        self._chosen = training_records(records.index, config)

    def __len__(self) -> int:
        return len(self._chosen)

    def empty(self, rows: int) -> Batch:
        """See `Samples`."""
        size, people = self._config.input_size, self._config.max_people
        keypoints = self._records.skeleton.num_keypoints
        batch = Batch(
            image=np.zeros((rows, size, size, 3), np.uint8),
            keypoints=np.zeros((rows, people, keypoints, 3), np.float32),
            area=np.zeros((rows, people), np.float32),
            reach=np.zeros((rows, people), np.float32),
            corners=np.zeros((rows, people, 4, 2), np.float32),
            valid_mask=np.zeros((rows, size // STRIDE, size // STRIDE), np.uint8),
            mirrored=np.zeros(rows, bool),
            image_id=np.zeros(rows, np.int64),
        )
        if self._config.fine_valid_mask:
            fine = 2 * size // STRIDE
            batch["fine_valid_mask"] = np.zeros((rows, fine, fine), np.uint8)
        return batch

    def fill(self, batch: Batch, row: int, epoch: int, place: int) -> None:
        """See `Samples`."""
        number = int(self._chosen[place])
        record = self._records[number]
        people = len(record["area"])
        if people > self._config.max_people:
            raise _too_many(record["image_id"], people, self._config.max_people)
        pixels = image_pixels(record)
        height, width = pixels.shape[:2]
        random = random_numbers(self._seed, epoch, number)
        augmentation = sample_augmentation(self._config.augmentation, height, width, random)

        size = self._config.input_size
        warp_image(pixels, augmentation, size, out=batch["image"][row])
        valid = valid_pixels(record)
        batch["valid_mask"][row] = warp_mask(valid, augmentation, size // STRIDE)
        if "fine_valid_mask" in batch:
            fine = batch["fine_valid_mask"]
            fine[row] = warp_mask(valid, augmentation, fine.shape[1])
        batch["keypoints"][row, :people] = warp_keypoints(
            record["keypoints"],
            augmentation,
            height,
            width,
            size,
            self._records.skeleton.mirror_permutation,
        )
        batch["mirrored"][row] = augmentation.mirrored
        batch["area"][row, :people] = warp_area(record["area"], augmentation, height, width, size)
        reach = squared_reach(record["keypoints"])
        batch["reach"][row, :people] = warp_area(reach, augmentation, height, width, size)
        batch["corners"][row, :people] = warp_corners(
            record["boxes"], augmentation, height, width, size
        )
        batch["image_id"][row] = record["image_id"]
