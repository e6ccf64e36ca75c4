"""`pinet-jax predict`: pictures and videos in, poses and drawn ones out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from experiments.commands.flags import given
from experiments.testing.chosen_network import choose_network, procedure_of
from experiments.testing.people_boxes import task_boxes
from experiments.testing.pictures import plan
from experiments.testing.user_prediction import predict_inputs
from pinet_jax.errors import InputError, UsageError
from pinet_jax.inference import Predictor, default_batch_size
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.runtime import use_user_cache


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The experiment's test procedure; a flag replaces one field of it."""
    checkpoint, config = given(arguments, "--checkpoint"), given(arguments, "--config")
    return {"inference": procedure_of(checkpoint, config)}


def main(
    images: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        # Of a list tyro would say that it may be empty.
        tyro.conf.arg(metavar="PATH [PATH ...]", help_behavior_hint="(required)"),
    ],
    *,
    out: Path,
    inference: Annotated[InferenceConfig, tyro.conf.arg(name="")],
    checkpoint: Path | None = None,
    config: str | None = None,
    boxes: Path | None = None,
    score_threshold: float = 0.1,
    every: int = 1,
    batch_size: int | None = None,
) -> None:
    """Finds everybody's pose in pictures and videos.

    Writes poses.json, a list in COCO's result format, and one drawn picture or video for each. A
    file's name is its `image_id`, or its path where two share a name; poses of a video also have
    `frame`, from 0 on, and `time` in seconds. Drawn videos are H.264 in .mp4, without sound. What
    cannot be read is named and passed over; the exit status is then 1. Ctrl-C keeps what is done.

    Example: pinet-jax predict photo.jpg party.mp4 --out poses

    Args:
        images: picture and video files, and folders whose pictures and videos are all taken.
        out: folder for poses.json and what is drawn; files of the same name are replaced.
        inference: the test procedure.
        checkpoint: the model, as written by `train`, `convert` or `export`; by default the small
            one that comes with the package, trained on photographs.
        config: the checkpoint's experiment, for its way of testing; needed only where its graph is
            a function of your own.
        boxes: people's boxes, which a top-down network needs: a file in COCO's format of a
            detector's results, of another system's poses (the poses.json of another network), or of
            annotations. A picture goes by its name, or by the number that its name is. A box that
            cannot be used is named and passed over.
        score_threshold: poses below it are not drawn; poses.json has them all.
        every: of a video, look at every so many frames; those between are drawn with the last
            poses.
        batch_size: pictures of one size at a time, or of a top-down network people; by default one
            for every device on CPUs and eight elsewhere.
    """
    if not images:
        raise UsageError("no pictures or videos: name at least one file or folder")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    if every < 1:
        raise UsageError(f"--every {every}: must be at least 1")
    network = choose_network(checkpoint, config)
    use_user_cache()
    tasks, failures = plan(images, out)
    if tasks:
        videos = [task.source for task in tasks if task.is_video]
        devices = jax.local_devices()[: None if videos else len(tasks)]
        model, variables, _ = network.read()
        if videos and model.needs_boxes:
            raise UsageError(
                f"{videos[0]}: {type(model).__name__} needs people's boxes, which videos have not; "
                "use a network that finds people by itself"
            )
        own_boxes, left_out = task_boxes(tasks, model, boxes)
        failures += left_out
        predictor = Predictor(model, variables, inference, devices)
        failures += predict_inputs(
            tasks,
            predictor,
            out,
            score_threshold=score_threshold,
            batch_size=batch_size or default_batch_size(devices),
            every=every,
            boxes=own_boxes,
        )
    if failures:
        raise InputError(f"{failures} of the inputs could not be used; each is named above")
