"""A user's pictures and videos through a predictor: poses.json, and everything drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.testing.picture_prediction import predict_tasks
from experiments.testing.pictures import Task, report
from experiments.testing.pose_output import PoseOutput
from experiments.testing.videos import predict_video
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import growing_results
from pinet_jax.image_batches import PosePredictor
from pinet_jax.video_files import UnreadableVideo


def predict_inputs(
    tasks: Sequence[Task],
    predictor: PosePredictor,
    out: Path,
    *,
    score_threshold: float,
    batch_size: int,
    every: int = 1,
    boxes: Sequence[np.ndarray] | None = None,
) -> int:
    """Predicts pictures, then videos. What is done when Ctrl-C comes is kept whole.

    Args:
        tasks: from `plan`; poses.json has the pictures in their order, then the videos.
        predictor: the model.
        out: folder of poses.json.
        score_threshold: poses below it are not drawn.
        batch_size: frames of one shape that go through the device at a time, at most.
        every: of a video, looks at every so many frames.
        boxes: of every picture's people, [M, 5] each, for methods that need them; there are no
            videos then.

    Returns:
        How many inputs were reported as unreadable, or as readable in part.

    Raises:
        InputError: no input could be read, or a file cannot be written.
    """
    pictures = [task for task in tasks if not task.is_video]
    videos = [task for task in tasks if task.is_video]
    unread = failures = 0
    with growing_results(out / "poses.json") as results:
        output = PoseOutput(results, predictor.skeleton, score_threshold)
        if pictures:
            unread = predict_tasks(pictures, predictor, output, batch_size=batch_size, boxes=boxes)
        for task in videos:
            try:
                failures += predict_video(
                    task, predictor, output, every=every, batch_size=batch_size
                )
            except UnreadableVideo as error:
                unread += report(error)
        if unread == len(tasks):
            raise InputError("none of the inputs could be read; poses.json is not written")
    print(
        f"{out / 'poses.json'}: inputs {len(tasks) - unread}, poses {results.count}; drawn are the "
        f"{output.num_drawn} with a score of {score_threshold:g} or more"
    )
    return unread + failures
