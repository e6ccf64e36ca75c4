"""All images of a split through a predictor: grouped by size, batched, resumed when killed.

Several processes take a share each, and the first one puts the poses together.
"""

from __future__ import annotations

import dataclasses
import glob
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
from jax.experimental import multihost_utils
from tqdm import tqdm

from experiments.testing.image_sets import ImageSet
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import Entry, PartialResults, pose_entries
from pinet_jax.image_batches import (
    PosePredictor,
    Shapes,
    Stages,
    make_batches,
    predict_batches,
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


def predict_split(
    images: ImageSet,
    predictor: PosePredictor,
    partial: PartialResults,
    *,
    batch_size: int,
    category_id: int = 1,
) -> Timing:
    """Adds the poses of every image that `partial` lacks.

    Args:
        images: of the whole split.
        predictor: the model.
        partial: where the poses go.
        batch_size: images at a time, at most.
        category_id: of the result entries.
    """
    todo = [place for place, image_id in enumerate(images.ids) if image_id not in partial.done]
    seen: set[tuple[Shapes, int]] = set()
    timed_images, timed_seconds = 0, 0.0
    start = last = time.perf_counter()
    batches = make_batches(predictor, images.shapes, todo, batch_size, images.boxes)
    done = len(images.ids) - len(todo)
    with tqdm(total=len(images.ids), initial=done, desc="evaluate", unit="image") as progress:
        for found in predict_batches(predictor, batches, images.read, images.boxes):
            for place, stages in found.poses.items():
                final = stages["final"]
                entries = pose_entries(
                    images.ids[place], final.keypoints, final.scores, category_id=category_id
                )
                partial.add(images.ids[place], entries)
            progress.update(len(found.poses))
            now = time.perf_counter()
            if found.batch.program in seen:
                timed_images += len(found.poses)
                timed_seconds += now - last
            seen.add(found.batch.program)
            last = now
    rate = timed_images / timed_seconds if timed_seconds else None
    return Timing(len(todo), last - start, rate)


def predict_together(
    images: ImageSet,
    predictor: PosePredictor,
    stem: Path,
    run: Mapping[str, Any],
    *,
    batch_size: int,
    category_id: int = 1,
) -> tuple[list[Entry], Timing] | None:
    """The poses of all images by all processes of `jax.distributed`, each with its share of them.

    Poses are kept in files STEM.partial*.jsonl, one a process, as they come; a later call goes on
    from these, also with another number of processes. `discard_partial` deletes them.

    Args:
        images: of the whole split.
        predictor: the model, on this process's devices.
        stem: where to keep poses; all processes see it.
        run: what decides the results, see `PartialResults`.
        batch_size: images at a time, at most.
        category_id: of the result entries.

    Returns:
        The entries in the images' order and the time of this process; None in all but the first.

    Raises:
        InputError: poses of another run are in the way, or the processes use several folders.
    """
    process, processes = jax.process_index(), jax.process_count()
    wait_for_all("the start")
    share = share_of(images, predictor, process, processes) if processes > 1 else images
    number = f".{process}" if process else ""
    with PartialResults(stem.with_name(f"{stem.name}.partial{number}.jsonl"), run) as partial:
        for file in _partial_files(stem):
            partial.take_over(file)
        timing = predict_split(
            share, predictor, partial, batch_size=batch_size, category_id=category_id
        )
        wait_for_all("all poses")
        if process:
            return None
        for file in _partial_files(stem):
            partial.take_over(file)
    missing = sum(image_id not in partial.done for image_id in images.ids)
    if missing:
        raise InputError(
            f"{stem.parent}: lacks the poses of {missing} images; use a folder that all processes "
            "share"
        )
    return partial.results(images.ids), timing


def share_of(images: ImageSet, predictor: PosePredictor, process: int, processes: int) -> ImageSet:
    """The images of one process: as many as of any other, and as many of every input."""
    shapes = [predictor.frame_shapes(shape) for shape in images.shapes]
    by_shape = sorted(range(len(shapes)), key=lambda place: shapes[place])
    return images.chosen(by_shape[process::processes])


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
    images: ImageSet, image_ids: Sequence[int], predictor: PosePredictor, *, batch_size: int
) -> dict[int, Stages]:
    """The poses of some images before the last stage, by the programs the split has compiled.

    Args:
        images: of the whole split.
        image_ids: the ones wanted.
        predictor: the model.
        batch_size: as for `predict_split`.
    """
    wanted = set(image_ids)
    places = [place for place, image_id in enumerate(images.ids) if image_id in wanted]
    batches = make_batches(predictor, images.shapes, places, batch_size, images.boxes)
    return {
        images.ids[place]: {name: poses for name, poses in stages.items() if name != "final"}
        for found in predict_batches(predictor, batches, images.read, images.boxes)
        for place, stages in found.poses.items()
    }
