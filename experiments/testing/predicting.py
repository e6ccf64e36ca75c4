"""Batches of images through a predictor, while threads read the next ones.

Legend for shapes: N images, H and W of one, h and w of the network's input.
"""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from pinet_jax.inference import Prepared
from pinet_jax.poses import Poses
from pinet_jax.skeletons import Skeleton
from pinet_jax.threads import work_ahead

_THREADS = 4
_BATCHES_AHEAD = 3

Stages = Mapping[str, Poses]  # by the names of the method's stages, the last one "final"


class PosePredictor(Protocol):
    """What is asked of a `pinet_jax.inference.Predictor`, which says what these are."""

    skeleton: Skeleton

    def frame_shapes(self, image_shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """(h, w) of an image's frames at every scale."""

    def prepare(self, images: Sequence[np.ndarray], batch_size: int | None = None) -> Prepared:
        """Resizes and stacks images."""

    def predict_prepared(self, prepared: Prepared) -> Sequence[Stages]:
        """Poses of every stage."""


@dataclasses.dataclass(frozen=True)
class Batch:
    """Images of one network input.

    Attributes:
        places: of the images.
        size: what the batch is padded to.
    """

    places: Sequence[int]
    size: int


@dataclasses.dataclass(frozen=True)
class PredictedBatch:
    """Images with their poses.

    Attributes:
        batch: what was asked for.
        places: of the images that could be read.
        images: their pixels.
        input_shape: of the network's input, [B, h, w, 3]; a new one compiles.
        poses: of every stage.
    """

    batch: Batch
    places: Sequence[int]
    images: Sequence[np.ndarray]
    input_shape: tuple[int, ...]
    poses: Sequence[Stages]


def make_batches(
    predictor: PosePredictor,
    image_shapes: Sequence[tuple[int, int]],
    places: Sequence[int],
    batch_size: int,
) -> list[Batch]:
    """Groups images by the network's input.

    A batch is as large as all images of its input allow, not only the chosen ones, so that a
    resumed run and a few images of a split need no program of their own, and a small group does
    not pay for a whole batch.

    Args:
        predictor: the model.
        image_shapes: (H, W) of all images, [N].
        places: those that are wanted.
        batch_size: images at a time, at most.
    """
    shape_of = [predictor.frame_shapes(shape) for shape in image_shapes]
    available = collections.Counter(shape_of)
    groups: dict[tuple[tuple[int, int], ...], list[int]] = collections.defaultdict(list)
    for place in places:
        groups[shape_of[place]].append(place)
    batches = []
    for shape, group in sorted(groups.items()):
        size = min(batch_size, available[shape])
        batches += [Batch(group[i : i + size], size) for i in range(0, len(group), size)]
    return batches


def predict_batches(
    predictor: PosePredictor,
    batches: Sequence[Batch],
    read: Callable[[int], np.ndarray | None],
) -> Iterator[PredictedBatch]:
    """The poses of batches, in order. While the device works on one, threads read the next ones.

    Args:
        predictor: the model.
        batches: from `make_batches`.
        read: from a place to the image's pixels, uint8 [H, W, 3]; None leaves the image out. It is
            called by several threads at once.
    """

    def load(batch: Batch) -> tuple[dict[int, np.ndarray], Prepared]:
        found = {place: read(place) for place in batch.places}
        images = {place: image for place, image in found.items() if image is not None}
        prepared = (
            predictor.prepare(list(images.values()), batch.size) if images else Prepared([], [])
        )
        return images, prepared

    for batch, (images, prepared) in work_ahead(
        load, batches, threads=_THREADS, ahead=_BATCHES_AHEAD
    ):
        poses = predictor.predict_prepared(prepared) if images else []
        shape = prepared.batches[0].pixels[0].shape if images else ()
        yield PredictedBatch(batch, list(images), list(images.values()), shape, poses)
