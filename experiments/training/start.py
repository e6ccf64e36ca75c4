"""Where a training begins: at first variables, at given ones, or where it was stopped."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax

from experiments.configs.base import ExperimentConfig
from experiments.training.progress import Progress
from pinet_jax.checkpoints import TrainingCheckpoints, load_model
from pinet_jax.errors import InputError
from pinet_jax.files import write_whole
from pinet_jax.interop.state_dict import replace_backbone
from pinet_jax.interop.weight_files import read_arrays
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.networks.initializers import Variables
from pinet_jax.runtime import replicated
from pinet_jax.training import Training, TrainState


def first_state(
    config: ExperimentConfig,
    training: Training,
    mesh: jax.sharding.Mesh,
    init_backbone: Path | None,
    init_model: Path | None,
) -> TrainState:
    """The state of a new training, at given weights where some are named.

    Raises:
        InputError: the weights do not fit the network.
    """
    variables: Variables
    if init_model is not None:
        variables = load_model(init_model, config.model).variables
    else:
        variables = init_variables(config.model, config.training.seed)
    if init_backbone is not None:
        arrays = read_arrays(init_backbone)
        variables = replace_backbone(variables, arrays, config.model, where=str(init_backbone))
    return jax.device_put(training.init_state(variables), replicated(mesh))


def restored_state(
    config: ExperimentConfig,
    training: Training,
    mesh: jax.sharding.Mesh,
    checkpoints: TrainingCheckpoints,
) -> TrainState:
    """The newest checkpoint's state, on the devices of now.

    Raises:
        InputError: it is of another network or optimizer, or broken.
    """
    shapes = jax.eval_shape(training.init_state, abstract_variables(config.model))
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes
    )
    return TrainState.from_checkpoint(
        *checkpoints.restore(placed.test_variables, placed.training_variables)
    )


def progress_of(
    config: ExperimentConfig, images_per_epoch: int, checkpoints: TrainingCheckpoints
) -> Progress:
    """How far a training has come, in batches of the config's size."""
    size, step = config.training.batch_size, checkpoints.latest_step
    if step is None:
        return Progress(size, images_per_epoch)
    seen = checkpoints.images_seen()
    if seen is None:  # by a version that did not note it, with the same batches throughout
        return Progress(size, images_per_epoch)
    progress = Progress.resumed(size, images_per_epoch, step, seen)
    if progress.images(step) != step * size and jax.process_index() == 0:
        print(f"{checkpoints.folder}: goes on after {seen} images, now with batches of {size}")
    return progress


def note_config(config: ExperimentConfig, workdir: Path) -> None:
    """Writes the config for whoever looks into the folder; says what changed since the start."""
    content = json.loads(json.dumps(dataclasses.asdict(config), default=_as_text))
    file = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            if file.is_file() and json.loads(file.read_text()) != content:
                print(f"{file}: this training began with another config; it is replaced")
            write_whole(file, json.dumps(content, indent=1) + "\n")
    except (OSError, ValueError) as error:
        raise InputError(f"--workdir {workdir}: cannot be used ({error})") from error


def _as_text(value: Any) -> str:
    """What JSON has no word for: a graph function by its name, a path as it is."""
    return str(value) if isinstance(value, Path) else value.__name__
