"""`pinet-jax predict`: pictures in, poses and drawn pictures out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from experiments.commands.flags import given
from experiments.testing.chosen_network import choose_network, procedure_of
from experiments.testing.people_boxes import task_boxes
from experiments.testing.picture_prediction import predict_tasks
from experiments.testing.pictures import plan
from pinet_jax.checkpoints import load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.inference import Predictor, default_batch_size
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.runtime import use_user_cache


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The experiment's test procedure; a flag replaces one field of it."""
    checkpoint, config = given(arguments, "--checkpoint"), given(arguments, "--config")
    return {"inference": procedure_of(checkpoint, config)}


def main(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    out: Path,
    inference: Annotated[InferenceConfig, tyro.conf.arg(name="")],
    checkpoint: Path | None = None,
    config: str | None = None,
    boxes: Path | None = None,
    score_threshold: float = 0.1,
    batch_size: int | None = None,
) -> None:
    """Finds everybody's pose in pictures.

    Writes poses.json, a list in COCO's result format, and one drawn picture for each. A picture's
    file name is its `image_id`, or its path where two pictures share a name. What cannot be read
    is named and passed over; the exit status is then 1.

    Args:
        images: picture files, and folders whose pictures are all taken.
        out: folder for poses.json and the drawn pictures; files of the same name are replaced.
        inference: the test procedure.
        checkpoint: the model, as written by `train`, `convert` or `export`; by default the small
            one that comes with the package, trained on rendered crowds alone.
        config: the checkpoint's experiment, for its way of testing; needed only where its graph is
            a function of your own.
        boxes: people's boxes, which a top-down network needs: a file in COCO's format of a
            detector's results, of another system's poses (the poses.json of another network), or of
            annotations. A picture goes by its name, or by the number that its name is. A box that
            cannot be used is named and passed over.
        score_threshold: poses below it are not drawn; poses.json has them all.
        batch_size: pictures of one size at a time, or of a top-down network people; by default one
            for every device on CPUs and eight elsewhere.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    network = choose_network(checkpoint, config)
    use_user_cache()
    tasks, failures = plan(images, out)
    if tasks:
        expected = None if network.experiment is None else network.experiment.model
        devices = jax.local_devices()[: len(tasks)]
        model, variables, _ = load_model(network.checkpoint, expected)
        own_boxes, left_out = task_boxes(tasks, model, boxes)
        failures += left_out
        predictor = Predictor(model, variables, inference, devices)
        failures += predict_tasks(
            tasks,
            predictor,
            out,
            score_threshold=score_threshold,
            batch_size=batch_size or default_batch_size(devices),
            boxes=own_boxes,
        )
    if failures:
        raise InputError(f"{failures} of the inputs could not be used; each is named above")
