"""Images of any sizes through a predictor, while threads read the next ones.

Legend for shapes: N images, H and W of one, h and w of a frame, M boxes of an image.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from pinet_jax.frames import Frame
from pinet_jax.poses import Poses
from pinet_jax.skeletons import Skeleton
from pinet_jax.threads import work_ahead

MEMORY_ADVICE = "with batches of {}: take a smaller --batch-size or --input-size"

_THREADS = 4
_BATCHES_AHEAD = 3

Stages = Mapping[str, Poses]  # by the names of the method's stages, the last one "final"


class PosePredictor(Protocol):
    """What is asked of a `pinet_jax.inference.Predictor`, which says what these are."""

    skeleton: Skeleton

    def frame_shapes(self, image_shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(h, w) of an image's frames at every scale."""

    def frames(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[Frame]:
        """An image's frames."""

    def predict_stream(
        self, images: Iterable[tuple[int, Sequence[Frame]]], batch_size: int
    ) -> Iterator[tuple[int, Stages]]:
        """Poses of every stage, image by image."""


Shapes = tuple[tuple[int, int], ...]  # (h, w) of an image's frames at every scale


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images that are read together.

    Attributes:
        places: of the images.
        shapes: of their frames.
        size: frames that go through the device at a time.
    """

    places: Sequence[int]
    shapes: Shapes
    size: int

    @property
    def program(self) -> tuple[Shapes, int]:
        """What is compiled: a new one takes a while. Batches of one program share its calls."""
        return self.shapes, self.size


@dataclasses.dataclass(frozen=True)
class PredictedBatch:
    """Images with their poses.

    Attributes:
        batch: what was asked for.
        images: of the places that could be read, their pixels.
        poses: of the same places, of every stage.
    """

    batch: Batch
    images: Mapping[int, np.ndarray]
    poses: Mapping[int, Stages]


def make_batches(
    predictor: PosePredictor,
    image_shapes: Sequence[tuple[int, int]],
    places: Sequence[int],
    batch_size: int,
    boxes: Sequence[np.ndarray] | None = None,
) -> list[Batch]:
    """Groups images by the shapes of their frames.

    Frames at a time are as many as all images of a shape allow, not only the chosen ones, so that a
    resumed run and a few images of a split need no program of their own, and a small group does
    not pay for a whole batch.

    Args:
        predictor: the model.
        image_shapes: (H, W) of all images, [N].
        places: those that are wanted.
        batch_size: frames at a time, at most.
        boxes: of all images, [M, 5] each, where frames are made of boxes.
    """
    shapes_of = [predictor.frame_shapes(shape) for shape in image_shapes]
    available: collections.Counter[Shapes] = collections.Counter()
    for place, shapes in enumerate(shapes_of):
        available[shapes] += 1 if boxes is None else len(boxes[place])
    groups: dict[Shapes, list[int]] = collections.defaultdict(list)
    for place in places:
        groups[shapes_of[place]].append(place)
    batches = []
    for shapes, group in sorted(groups.items()):
        size = max(min(batch_size, available[shapes]), 1)
        batches += [Batch(group[i : i + size], shapes, size) for i in range(0, len(group), size)]
    return batches


def predict_batches(
    predictor: PosePredictor,
    batches: Sequence[Batch],
    read: Callable[[int], np.ndarray | None],
    boxes: Sequence[np.ndarray] | None = None,
) -> Iterator[PredictedBatch]:
    """The poses of batches, in order. While the device works on one, threads read the next ones.

    Args:
        predictor: the model.
        batches: from `make_batches`.
        read: from a place to the image's pixels, uint8 [H, W, 3]; None leaves the image out. It is
            called by several threads at once.
        boxes: as for `make_batches`.
    """

    def load(batch: Batch) -> _Loaded:
        found = {place: read(place) for place in batch.places}
        images = {place: image for place, image in found.items() if image is not None}
        frames = {
            place: predictor.frames(image, None if boxes is None else boxes[place])
            for place, image in images.items()
        }
        return _Loaded(images, frames)

    loaded = work_ahead(load, batches, threads=_THREADS, ahead=_BATCHES_AHEAD)
    with contextlib.closing(loaded):
        for (_, size), group in itertools.groupby(loaded, key=lambda item: item[0].program):
            yield from _predict_group(predictor, group, size)


class _Loaded(NamedTuple):
    """What was read for a batch, by place."""

    images: dict[int, np.ndarray]
    frames: dict[int, list[Frame]]


def _predict_group(
    predictor: PosePredictor, group: Iterable[tuple[Batch, _Loaded]], size: int
) -> Iterator[PredictedBatch]:
    """Batches of one program, each when all of its images are done."""
    begun: collections.deque[tuple[Batch, dict[int, np.ndarray]]] = collections.deque()
    done: dict[int, Stages] = {}

    def frames() -> Iterator[tuple[int, list[Frame]]]:
        for batch, loaded in group:
            begun.append((batch, loaded.images))
            yield from loaded.frames.items()

    def complete() -> Iterator[PredictedBatch]:
        while begun and begun[0][1].keys() <= done.keys():
            batch, images = begun.popleft()
            yield PredictedBatch(batch, images, {place: done.pop(place) for place in images})

    for place, stages in predictor.predict_stream(frames(), size):
        done[place] = stages
        yield from complete()
    yield from complete()
