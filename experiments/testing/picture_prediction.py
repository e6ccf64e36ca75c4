"""A user's pictures through a predictor: their poses, and a drawn picture for each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from experiments.testing.pictures import Task, report
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import Entry, pose_entries
from pinet_jax.files import write_whole
from pinet_jax.image_batches import (
    MEMORY_ADVICE,
    Batch,
    PosePredictor,
    make_batches,
    predict_batches,
)
from pinet_jax.images import read_image
from pinet_jax.poses import Poses
from pinet_jax.runtime import memory_advice
from pinet_jax.skeletons import Skeleton
from pinet_jax.visualization import draw_poses

_THREADS = 2  # that draw
_JPEG_QUALITY = 95


def predict_tasks(
    tasks: Sequence[Task],
    predictor: PosePredictor,
    add: Callable[[Sequence[Entry]], None],
    *,
    score_threshold: float,
    batch_size: int,
    boxes: Sequence[np.ndarray] | None = None,
) -> int:
    """Predicts all pictures, group by group, and writes the drawn ones.

    While the device works on a batch, the next ones are read and resized and the last is drawn.

    Args:
        tasks: from `plan`, pictures alone.
        predictor: the model.
        add: takes the entries of all pictures at the end, in the order of the tasks.
        score_threshold: poses below it are not drawn.
        batch_size: frames of one shape that go through the device at a time, at most.
        boxes: of every picture's people, [M, 5] each, for methods that need them.

    Returns:
        How many pictures were reported as unreadable.

    Raises:
        InputError: a file cannot be written.
    """
    poses: dict[int, Poses] = {}
    pictures = _Pictures(tasks)
    drawn: list[Future[None]] = []
    shapes = [task.shape for task in tasks]
    batches = make_batches(predictor, shapes, range(len(tasks)), batch_size, boxes)
    predicted = predict_batches(predictor, batches, pictures.read, boxes)
    with (
        memory_advice(MEMORY_ADVICE.format(batch_size)),
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(tasks), desc="predict", unit="image") as progress,
    ):
        _announce(progress, batches, 0)
        for number, found in enumerate(predicted, 1):
            _finish(drawn)
            for place, stages in found.poses.items():
                poses[place] = stages["final"]
                arguments = found.images[place], poses[place], predictor.skeleton, score_threshold
                drawn.append(pool.submit(_draw, tasks[place].drawing, *arguments))
            pictures.report(found.batch)
            progress.update(len(found.batch.places))
            _announce(progress, batches, number)
        _finish(drawn)
    add(_entries(tasks, poses))
    return len(pictures.errors)


class _Pictures:
    """Reads pictures, and keeps what was wrong with those that cannot be read."""

    def __init__(self, tasks: Sequence[Task]) -> None:
        self._tasks = tasks
        self.errors: dict[int, InputError] = {}

    def read(self, place: int) -> np.ndarray | None:
        try:
            return read_image(self._tasks[place].source)
        except InputError as error:
            self.errors[place] = error
            return None

    def report(self, batch: Batch) -> None:
        for place in batch.places:
            if place in self.errors:
                report(self.errors[place])


def _entries(tasks: Sequence[Task], poses: dict[int, Poses]) -> list[Entry]:
    return [
        entry
        for place, task in enumerate(tasks)
        if place in poses
        for entry in pose_entries(task.image_id, poses[place].keypoints, poses[place].scores)
    ]


def _announce(progress: tqdm, batches: Sequence[Batch], number: int) -> None:
    """Says what the batch does; one of a new program compiles, which may take half a minute."""
    if number < len(batches):
        shapes, _ = program = batches[number].program
        compiles = program not in (batch.program for batch in batches[:number])
        progress.set_description("compile {} x {}".format(*max(shapes)) if compiles else "predict")


def _draw(
    path: Path, image: np.ndarray, poses: Poses, skeleton: Skeleton, score_threshold: float
) -> None:
    picture = draw_poses(
        image, poses.keypoints, poses.scores, skeleton, score_threshold=score_threshold
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix, bgr, options)
    write_whole(path, data.tobytes())


def _finish(futures: list[Future[None]]) -> None:
    """Waits for all and forgets them; an error in one is raised here."""
    for future in futures:
        future.result()
    futures.clear()
