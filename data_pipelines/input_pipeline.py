"""Prepared records -> batches: sharded by process, resumable from any step, prefetched.

What a batch holds depends on (seed, step) alone (`sampling`): not on when training was interrupted,
nor on how many processes share it. Each epoch sees every record exactly once, a batch may end one
epoch and begin the next, and even fewer records than a batch has rows fill it.

`batches` makes them of images or of persons alike; tf.data works ahead (`tf_stream`).

Legend for shapes: N records, B images of a batch, P people (padded), K keypoints, S the side of
the input, R = S / 4 that of the valid masks.
"""

from __future__ import annotations

import collections
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
from data_pipelines.pasting import Cutouts, Labels, paste_people
from data_pipelines.pixel_augmentation import change_pixels
from data_pipelines.records import Index, Record, image_pixels, valid_pixels
from data_pipelines.sampling import Share, sample_place
from data_pipelines.tf_stream import stream, zeros
from pinet_jax.errors import InputError
from pinet_jax.frames import STRIDE
from pinet_jax.skeletons import Skeleton


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
    # bool [B], only where a set says so: unlabelled keypoints may be there; see
    # `pinet_jax.targets.known_background`.
    partial: NotRequired[np.ndarray]


class Records(Protocol):
    """What is read here of a `data_pipelines.records.Split`."""

    skeleton: Skeleton

    @property
    def index(self) -> Index | None:
        """A row a record; None if there is no end of them, and sample n is record n."""

    def __getitem__(self, index: int) -> Record:
        """Reads one record."""


class Samples(Protocol):
    """What the rows of batches are made of: images, persons, or a mixture of such."""

    def empty(self, rows: int) -> Batch:
        """A batch of black images without people."""

    def fill(self, batch: Batch, row: int, number: int) -> None:
        """Makes a row of sample `number`, which says all about it; many threads call this."""


class SetSamples(Samples, Protocol):
    """Samples of a set that has an end, and is gone through again and again."""

    def __len__(self) -> int:
        """How many an epoch has."""


def batches(
    samples: Samples,
    *,
    batch_size: int,
    start_step: int = 0,
    share: Share = Share(),
    workers: int | None = None,
) -> Generator[Batch]:
    """Batches of samples without end, the first of them that of `start_step`.

    Args:
        samples: what the rows are made of.
        batch_size: rows of all processes together.
        start_step: where to begin; costs nothing, and later batches are as if begun with 0.
        share: which rows of every batch this process makes.
        workers: threads; as many as this process may use cores if None.

    Raises:
        InputError: a record is broken, or the processes cannot share the batch.
    """
    rows = share.rows(batch_size)

    def make(step: int) -> Batch:
        batch = samples.empty(rows.stop - rows.start)
        for row, place in enumerate(range(batch_size)[rows]):
            samples.fill(batch, row, step * batch_size + place)
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


def empty_images(rows: int, config: DataConfig, num_keypoints: int, *, partial: bool) -> Batch:
    """A batch of black images without people.

    Args:
        rows: how many.
        config: sizes, and which masks there are.
        num_keypoints: K.
        partial: whether batches say of each image whether its labels are partial.
    """
    size, people = config.input_size, config.max_people
    batch = Batch(
        image=zeros((rows, size, size, 3), np.uint8),
        keypoints=np.zeros((rows, people, num_keypoints, 3), np.float32),
        area=np.zeros((rows, people), np.float32),
        reach=np.zeros((rows, people), np.float32),
        corners=np.zeros((rows, people, 4, 2), np.float32),
        valid_mask=np.zeros((rows, size // STRIDE, size // STRIDE), np.uint8),
        mirrored=np.zeros(rows, bool),
        image_id=np.zeros(rows, np.int64),
    )
    if config.fine_valid_mask:
        fine = 2 * size // STRIDE
        batch["fine_valid_mask"] = np.zeros((rows, fine, fine), np.uint8)
    if partial:
        batch["partial"] = np.zeros(rows, bool)
    return batch


class Images:
    """The images of a split that are trained on, each with all of its people."""

    def __init__(
        self,
        records: Records,
        config: DataConfig,
        seed: int,
        *,
        partial: bool | None = None,
        cutouts: Cutouts | None = None,
    ) -> None:
        """Chooses the images.

        Args:
            records: an opened split.
            config: which records, their augmentation, and the batch's sizes.
            seed: of order and augmentation, 0 or more.
            partial: see `Batch`; if None, batches do not say.
            cutouts: people to paste; nobody is pasted if None.

        Raises:
            InputError: see `training_records`.
        """
        self._records, self._config, self._seed = records, config, seed
        self._partial, self._cutouts = partial, cutouts
        index = records.index
        self._chosen = None if index is None else training_records(index, config)

    def __len__(self) -> int:
        assert self._chosen is not None  # else there is no end of them
        return len(self._chosen)

    def empty(self, rows: int) -> Batch:
        """See `Samples`."""
        keypoints = self._records.skeleton.num_keypoints
        return empty_images(rows, self._config, keypoints, partial=self._partial is not None)

    def fill(self, batch: Batch, row: int, number: int) -> None:
        """See `Samples`."""
        epoch, place = 0, number
        if self._chosen is not None:
            epoch, place = sample_place(len(self._chosen), self._seed, number)
            place = int(self._chosen[place])
        key = self._seed, epoch, place
        record = self._records[place]
        self._warp(batch, row, record, key)
        if self._partial is not None:
            batch["partial"][row] = self._partial
        if self._cutouts is not None:
            config, skeleton = self._config.augmentation, self._records.skeleton
            paste_people(_labels(batch, row), self._cutouts, config, skeleton, key)
        change_pixels(batch["image"][row], self._config.augmentation.pixels, key)

    def _warp(self, batch: Batch, row: int, record: Record, key: tuple[int, int, int]) -> None:
        """Image and labels of a row, scaled, turned, moved and mirrored as a key has it."""
        people = len(record["area"])
        if people > self._config.max_people:
            raise _too_many(record["image_id"], people, self._config.max_people)
        pixels = image_pixels(record)
        height, width = pixels.shape[:2]
        random = random_numbers(*key)
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


def _labels(batch: Batch, row: int) -> Labels:
    """A row of a batch, to be written to."""
    masks = [batch["valid_mask"][row]]
    if "fine_valid_mask" in batch:
        masks.append(batch["fine_valid_mask"][row])
    return Labels(
        image=batch["image"][row],
        keypoints=batch["keypoints"][row],
        area=batch["area"][row],
        reach=batch["reach"][row],
        corners=batch["corners"][row],
        valid_masks=tuple(masks),
    )
