"""`pinet-jax train`: trains a network, tests it in between, goes on by itself after any end."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from experiments.commands.flags import given
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from experiments.configs.field_types import field_types
from experiments.training.loop import Stopped, train
from experiments.training.process import prepare_process

__all__ = ["defaults", "field_types", "main"]


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Every field of the named config is a flag, with its value there."""
    return {"experiment": load_config(given(arguments, "--config") or "ochuman")}


def main(
    *,
    config: str,
    workdir: Path,
    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")],
    init_backbone: Path | None = None,
    init_model: Path | None = None,
    distributed: bool = False,
) -> None:
    """Trains, evaluates in between, keeps the best by AP.

    The same command goes on where it was stopped: by Ctrl-C, SIGTERM, a crash or a power cut.
    WORKDIR/checkpoints holds the latest checkpoints and the best; `predict` and `evaluate` take
    WORKDIR for the best one. Beside them: metrics.jsonl, pictures of predictions, config.json.

    Args:
        config: the experiment: ochuman, crowdpose, coco, a row of the paper's tables, or a Python
            file of your own.
        workdir: folder of this training.
        experiment: its fields, each of which can be given another value.
        init_backbone: a published ImageNet HRNet (.pth, .safetensors or .npz) to start from.
        init_model: a whole network to start from: a checkpoint, a work folder, or an exported
            .safetensors.
        distributed: this is one process of several, which find each other through SLURM, MPI,
            Kubernetes or a TPU pod.
    """
    del config  # `defaults` has read it
    if distributed:
        jax.distributed.initialize()
    prepare_process()
    with contextlib.suppress(Stopped):
        train(experiment, workdir, init_backbone=init_backbone, init_model=init_model)
