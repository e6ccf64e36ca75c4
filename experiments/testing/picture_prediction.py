"""A user's pictures through a predictor: their poses, and a drawn picture for each."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from experiments.testing.pictures import Task, report
from experiments.testing.pose_output import PoseOutput
from pinet_jax.errors import InputError
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

_THREADS = 2  # that draw
_JPEG_QUALITY = 95


def predict_tasks(
    tasks: Sequence[Task],
    predictor: PosePredictor,
    output: PoseOutput,
    *,
    batch_size: int,
    boxes: Sequence[np.ndarray] | None = None,
) -> int:
    """Predicts all pictures, group by group, and writes the drawn ones.

    While the device works on a batch, the next ones are read and resized and the last is drawn.
    What was done when Ctrl-C comes is kept.

    Args:
        tasks: from `plan`, pictures alone.
        predictor: the model.
        output: draws, and takes the poses at the end, in the order of the tasks.
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
    try:
        with (
            memory_advice(MEMORY_ADVICE.format(batch_size)),
            ThreadPoolExecutor(_THREADS) as pool,
            tqdm(total=len(tasks), desc="predict", unit="image") as progress,
        ):
            _announce(progress, batches, 0)
            for number, found in enumerate(predicted, 1):
                _finish(drawn)
                for place, stages in found.poses.items():
                    picture = found.images[place], stages["final"]
                    drawn.append(pool.submit(_draw, tasks[place].drawing, output, *picture))
                    poses[place] = stages["final"]
                pictures.report(found.batch)
                progress.update(len(found.batch.places))
                _announce(progress, batches, number)
            _finish(drawn)
    finally:  # also after Ctrl-C; what has been begun is drawn by now
        for place in sorted(poses):
            output.add(tasks[place].image_id, poses[place])
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


def _announce(progress: tqdm, batches: Sequence[Batch], number: int) -> None:
    """Says what the batch does; one of a new program compiles, which may take half a minute."""
    if number < len(batches):
        shapes, _ = program = batches[number].program
        compiles = program not in (batch.program for batch in batches[:number])
        progress.set_description("compile {} x {}".format(*max(shapes)) if compiles else "predict")


def _draw(path: Path, output: PoseOutput, pixels: np.ndarray, poses: Poses) -> None:
    picture = output.draw(pixels, poses)
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix, bgr, options)
    write_whole(path, data.tobytes())


def _finish(futures: list[Future[None]]) -> None:
    """Waits for all and forgets them; an error in one is raised here."""
    for future in futures:
        future.result()
    futures.clear()
