"""All images of a split through a predictor: grouped by size, batched, resumed when killed.

Several processes take a share each, and the first one puts the poses together.

Legend for shapes: N images, H and W of one, h and w of the network's input.
"""

from __future__ import annotations

import collections
import dataclasses
import glob
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Protocol

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

from data_pipelines.records import Split, image_pixels
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import Entry, PartialResults, pose_entries
from pinet_jax.images import read_image
from pinet_jax.inference import Prepared
from pinet_jax.poses import Poses
from pinet_jax.resizing import resized_shape

_THREADS = 4  # decoding and resizing release the interpreter's lock
_BATCHES_AHEAD = 3

Stages = Mapping[str, Poses]  # coarse, refined, final


class PosePredictor(Protocol):
    """What is asked of a `pinet_jax.inference.Predictor`, which says what these are."""

    def prepare(self, images: Sequence[np.ndarray], batch_size: int | None = None) -> Prepared:
        """Resizes and stacks images."""

    def predict_prepared(self, prepared: Prepared) -> Sequence[Stages]:
        """Poses of every stage."""


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images to find poses in.

    Attributes:
        ids: [N].
        shapes: their (H, W).
        read: from a place in the two lists to the image's pixels, uint8 [H, W, 3].
    """

    ids: Sequence[int]
    shapes: Sequence[tuple[int, int]]
    read: Callable[[int], np.ndarray]

    @classmethod
    def of_split(cls, split: Split) -> ImageSet:
        """Those of a prepared split."""
        shapes = zip(split.index.height.tolist(), split.index.width.tolist(), strict=True)
        return cls(
            split.index.image_id.tolist(), list(shapes), lambda i: image_pixels(split.record(i))
        )

    @classmethod
    def of_folder(cls, entries: Sequence[Mapping[str, Any]], folder: Path) -> ImageSet:
        """Those a COCO-format file lists (id, file_name, height, width), from their folder."""

        def read(place: int) -> np.ndarray:
            path = folder / entries[place]["file_name"]
            image = read_image(path, ignore_orientation=True)
            if image.shape[:2] != shapes[place]:
                height, width = shapes[place]
                raise InputError(
                    f"{path}: {image.shape[1]} x {image.shape[0]} pixels, {width} x {height} in "
                    "the annotations; is this the right folder?"
                )
            return image

        shapes = [(int(entry["height"]), int(entry["width"])) for entry in entries]
        return cls([int(entry["id"]) for entry in entries], shapes, read)

    def share(self, process: int, processes: int, input_size: int) -> ImageSet:
        """The images of one process: as many as of any other, and as many of every input."""
        shape_of = [resized_shape(height, width, input_size) for height, width in self.shapes]
        by_shape = sorted(range(len(shape_of)), key=lambda place: shape_of[place])
        places = by_shape[process::processes]
        return ImageSet(
            [self.ids[place] for place in places],
            [self.shapes[place] for place in places],
            lambda i: self.read(places[i]),
        )


@dataclasses.dataclass(frozen=True)
class Timing:
    """How long a run took.

    Attributes:
        images: done in this run, without those that an earlier one had done.
        seconds: all of it, compilation included.
        images_per_second: without the first batch of every size, which compiles; None where there
            was no other.
    """

    images: int
    seconds: float
    images_per_second: float | None


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Places of images of one network input, and what the batch is padded to."""

    places: list[int]
    size: int


def predict_split(
    images: ImageSet,
    predictor: PosePredictor,
    partial: PartialResults,
    *,
    input_size: int,
    batch_size: int,
    category_id: int = 1,
) -> Timing:
    """Adds the poses of every image that `partial` lacks.

    Args:
        images: of the whole split.
        predictor: the model.
        partial: where the poses go.
        input_size: the predictor's, by which images are grouped.
        batch_size: images at a time, at most.
        category_id: of the result entries.
    """
    todo = [place for place, image_id in enumerate(images.ids) if image_id not in partial.done]
    seen: set[tuple[int, ...]] = set()
    timed_images, timed_seconds = 0, 0.0
    start = last = time.perf_counter()
    with tqdm(
        total=len(images.ids), initial=len(images.ids) - len(todo), desc="evaluate", unit="image"
    ) as progress:
        for batch, shape, poses in _predict(images, todo, predictor, input_size, batch_size):
            for place, stages in zip(batch.places, poses, strict=True):
                final = stages["final"]
                entries = pose_entries(
                    images.ids[place], final.keypoints, final.scores, category_id=category_id
                )
                partial.add(images.ids[place], entries)
            progress.update(len(batch.places))
            now = time.perf_counter()
            if shape in seen:
                timed_images += len(batch.places)
                timed_seconds += now - last
            seen.add(shape)
            last = now
    rate = timed_images / timed_seconds if timed_seconds else None
    return Timing(len(todo), last - start, rate)


def predict_together(
    images: ImageSet,
    predictor: PosePredictor,
    stem: Path,
    run: Mapping[str, Any],
    *,
    input_size: int,
    batch_size: int,
    category_id: int = 1,
) -> tuple[list[Entry], Timing] | None:
    """The poses of all images by all processes of `jax.distributed`, each with its share of them.

    Poses are kept in files STEM.partial*.jsonl, one a process, as they come; a later call goes on
    from these, also with another number of processes. They are to be deleted by `discard_partial`.

    Args:
        images: of the whole split.
        predictor: the model, on this process's devices.
        stem: where to keep poses; all processes see the same folder.
        run: what decides the results, see `PartialResults`.
        input_size: as for `predict_split`.
        batch_size: as for `predict_split`.
        category_id: as for `predict_split`.

    Returns:
        The result entries in the images' order, and how long this process took; None in all
        processes but the first.

    Raises:
        InputError: files of another run are in the way, or the processes use several folders.
    """
    process, processes = jax.process_index(), jax.process_count()
    wait_for_all("the start")
    share = images.share(process, processes, input_size) if processes > 1 else images
    number = f".{process}" if process else ""
    with PartialResults(stem.with_name(f"{stem.name}.partial{number}.jsonl"), run) as partial:
        for file in _partial_files(stem):
            partial.take_over(file)
        timing = predict_split(
            share,
            predictor,
            partial,
            input_size=input_size,
            batch_size=batch_size,
            category_id=category_id,
        )
        wait_for_all("all poses")
        if process:
            return None
        for file in _partial_files(stem):
            partial.take_over(file)
    missing = sum(image_id not in partial.done for image_id in images.ids)
    if missing:
        raise InputError(
            f"{stem.parent}: lacks the poses of {missing} images; let --out be in a folder that "
            "all processes share"
        )
    return partial.results(images.ids), timing


def discard_partial(stem: Path) -> None:
    """Deletes what `predict_together` kept for going on."""
    for file in _partial_files(stem):
        file.unlink()


def _partial_files(stem: Path) -> list[Path]:
    return sorted(stem.parent.glob(f"{glob.escape(stem.name)}.partial*.jsonl"))


def wait_for_all(event: str) -> None:
    """Returns when all processes of `jax.distributed` have called it; at once in one alone."""
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(event)


def predict_stages(
    images: ImageSet,
    image_ids: Sequence[int],
    predictor: PosePredictor,
    *,
    input_size: int,
    batch_size: int,
) -> dict[int, Stages]:
    """The coarse and the refined poses of some images, by the programs the split has compiled.

    Args:
        images: of the whole split.
        image_ids: the ones wanted.
        predictor: the model.
        input_size: as for `predict_split`.
        batch_size: as for `predict_split`.
    """
    wanted = set(image_ids)
    places = [place for place, image_id in enumerate(images.ids) if image_id in wanted]
    return {
        images.ids[place]: {name: stages[name] for name in ("coarse", "refined")}
        for batch, _, poses in _predict(images, places, predictor, input_size, batch_size)
        for place, stages in zip(batch.places, poses, strict=True)
    }


def _predict(
    images: ImageSet,
    places: Sequence[int],
    predictor: PosePredictor,
    input_size: int,
    batch_size: int,
) -> Iterator[tuple[_Batch, tuple[int, ...], Sequence[Stages]]]:
    """Batches, the shapes of their inputs, and their poses.

    While the device works on a batch, the next ones are read and resized.
    """

    def load(batch: _Batch) -> Prepared:
        return predictor.prepare([images.read(place) for place in batch.places], batch.size)

    waiting: collections.deque[tuple[_Batch, Future[Prepared]]] = collections.deque()
    left = iter(_batches(images, places, input_size, batch_size))
    with ThreadPoolExecutor(_THREADS) as pool:
        while True:
            for batch in itertools.islice(left, _BATCHES_AHEAD - len(waiting)):
                waiting.append((batch, pool.submit(load, batch)))
            if not waiting:
                return
            batch, loaded = waiting.popleft()
            inputs = loaded.result()
            shape = inputs.batches[0].pixels[0].shape
            yield batch, shape, predictor.predict_prepared(inputs)


def _batches(
    images: ImageSet, places: Sequence[int], input_size: int, batch_size: int
) -> list[_Batch]:
    """Groups by the network's input.

    A batch is as large as the whole split's images of its size allow, so that a resumed run and
    the gallery's few images need no program of their own.
    """
    shape_of = [resized_shape(height, width, input_size) for height, width in images.shapes]
    available = collections.Counter(shape_of)
    groups: dict[tuple[int, int], list[int]] = collections.defaultdict(list)
    for place in places:
        groups[shape_of[place]].append(place)
    batches = []
    for shape, group in sorted(groups.items()):
        size = min(batch_size, available[shape])
        batches += [_Batch(group[i : i + size], size) for i in range(0, len(group), size)]
    return batches
