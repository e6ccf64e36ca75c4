"""`pinet-jax train`: trains a network, tests it in between, goes on by itself after any end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from experiments.commands.model_flags import named_experiment
from experiments.configs.base import ExperimentConfig
from experiments.configs.field_types import field_types
from experiments.processes import join_processes
from experiments.training.loop import train
from experiments.training.process import prepare_process
from experiments.training.start import InitialWeights

__all__ = ["defaults", "field_types", "main"]


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """Every field of the named config is a flag, with its value there."""
    return {"experiment": named_experiment(arguments)}


def main(
    *,
    config: str,
    workdir: Path,
    experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")],
    init_backbone: Path | None = None,
    init_model: Path | None = None,
    init_what_fits: bool = False,
    distributed: bool = False,
    distributed_timeout: int = 300,
) -> None:
    """Trains, evaluates in between, keeps the best by AP.

    The same command goes on where it was stopped: by Ctrl-C, SIGTERM, a crash or a power cut. The
    exit status is then 130 or 143, and 0 at the end of the last epoch alone.
    WORKDIR/checkpoints holds the latest checkpoints and the best; `predict` and `evaluate` take
    WORKDIR for the best one. Beside them: metrics.jsonl, pictures of predictions, config.json.

    Example: pinet-jax train --config ochuman --workdir runs/ochuman --training.batch-size 20

    Args:
        config: the experiment: ochuman, crowdpose, coco, a row of the paper's tables, or a Python
            file of your own.
        workdir: folder of this training.
        experiment: its fields, each of which can be given another value.
        init_backbone: a network whose backbone to start from: a published ImageNet one (.pth,
            .safetensors or .npz), a checkpoint, a work folder, or an exported file.
        init_model: a whole network to start from: a checkpoint, a work folder, or an exported
            .safetensors.
        init_what_fits: of --init-model, which may then have other keypoints or be a file of bare
            weights, take what fits the network, and say what starts anew.
        distributed: this is one process of several, which find each other through SLURM, MPI,
            Kubernetes or a TPU pod.
        distributed_timeout: seconds to wait for the other processes.
    """
    del config  # `defaults` has read it
    if distributed:
        join_processes(distributed_timeout)
    prepare_process()
    init = InitialWeights(init_backbone, init_model, init_what_fits)
    train(experiment, workdir, init=init)
