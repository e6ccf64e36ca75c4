"""`pinet-jax plan`: a training compiled for a pod that is not there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.commands.model_flags import named_experiment
from experiments.configs.base import ExperimentConfig
from experiments.configs.field_types import field_types
from experiments.planning.chips import open_pod
from experiments.planning.plan import plan_inference, plan_training
from experiments.planning.summary import IMAGES_PER_CORE, as_json, as_text, whole_training
from pinet_jax.errors import UsageError
from pinet_jax.files import replaced_whole

__all__ = ["defaults", "field_types", "main"]


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Every field of the named config is a flag, with its value there."""
    return {"experiment": named_experiment(arguments)}


def main(
    *,
    config: str,
    topology: str,
    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")],
    predict: bool = False,
    epoch_images: float | None = None,
    images_per_core: float = IMAGES_PER_CORE,
    out: Path | None = None,
) -> None:
    """Compiles the train step for a TPU pod, and says what it needs and what it takes at least.

    No TPU is needed: libtpu compiles for one that is not there. Takes minutes and gigabytes.

    Example: pinet-jax plan --config crowdpose --topology v5e:8x8

    Args:
        config: the experiment: ochuman, crowdpose, coco, a row of the paper's tables, or a Python
            file of your own.
        topology: v4, v5e, v5p or v6e and the chips along each axis: v5e:16x16, v5p:8x8x16.
        experiment: its fields, each of which can be given another value.
        predict: plan the test procedure instead, of 8 frames a device.
        epoch_images: images of an epoch, for the hours of the whole training; by default what the
            config says of rendered or packed data.
        images_per_core: that one core of a host makes in a second; the default is this project's
            measurement at 512 x 512 on one x86-64 machine.
        out: a JSON file of all figures.
    """
    del config  # `defaults` has read it
    if images_per_core <= 0:
        raise UsageError(f"--images-per-core {images_per_core}: must be more than 0")
    if epoch_images is not None and epoch_images <= 0:
        raise UsageError(f"--epoch-images {epoch_images}: must be more than 0")
    pod = open_pod(topology)
    with contextlib.nullcontext() if out is None else replaced_whole(out) as partial:
        if partial is not None:
            partial.touch()  # what cannot be written is said before minutes of compiling
        plan = (plan_inference if predict else plan_training)(experiment, pod)
        whole = None if predict else whole_training(plan, experiment, epoch_images)
        print(as_text(plan, whole, images_per_core))
        if partial is not None:
            content = as_json(plan, experiment, whole, images_per_core)
            partial.write_text(json.dumps(content, indent=1) + "\n")
    if out is not None:
        print(f"\n{out}: all figures")
