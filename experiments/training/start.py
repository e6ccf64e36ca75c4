"""Where a training begins: at first variables, at given ones, or where it was stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.configs.base import ExperimentConfig
from experiments.training.progress import Progress
from pinet_jax.checkpoints import TrainingCheckpoints, load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.files import write_whole
from pinet_jax.methods.base import Method, abstract_variables, init_variables
from pinet_jax.networks.initializers import Variables
from pinet_jax.runtime import replicated
from pinet_jax.training import Training, TrainState
from pinet_jax.warm_start import with_backbone, with_what_fits


class InitialWeights(NamedTuple):
    """What a new training starts from.

    Attributes:
        backbone: a network whose backbone is taken.
        model: a whole network.
        what_fits: of the whole network, take what fits, and say what starts anew.
    """

    backbone: Path | None = None
    model: Path | None = None
    what_fits: bool = False

    def check(self) -> None:
        """Raises UsageError where flags contradict each other."""
        if self.backbone is not None and self.model is not None:
            raise UsageError("--init-backbone and --init-model: give one of them")
        if self.what_fits and self.model is None:
            raise UsageError("--init-what-fits goes with --init-model")


def first_state(
    config: ExperimentConfig,
    training: Training,
    mesh: jax.sharding.Mesh,
    init: InitialWeights,
) -> TrainState:
    """The state of a new training, at given weights where some are named.

    Raises:
        InputError: the weights do not fit the network.
    """
    variables: Variables
    if init.model is not None and not init.what_fits:
        variables = _whole_network(init.model, config.model)
    else:
        variables = init_variables(config.model, config.training.seed)
    if init.backbone is not None:
        variables = with_backbone(variables, init.backbone, config.model)
    if init.model is not None and init.what_fits:
        variables, anew, unused = with_what_fits(variables, init.model, config.model)
        if jax.process_index() == 0:
            print(f"{init.model}: start anew: {_listed(anew)}; have no place: {_listed(unused)}")
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


def _whole_network(source: Path, method: Method) -> Variables:
    try:
        return load_model(source, method).variables
    except InputError as error:
        hint = "; --init-what-fits takes what fits" if source.exists() else ""
        raise InputError(f"{error}{hint}") from error


def _listed(layers: Sequence[str], most: int = 20) -> str:
    more = f" and {len(layers) - most} more" if len(layers) > most else ""
    return (", ".join(layers[:most]) or "none") + more


def _as_text(value: Any) -> str:
    """What JSON has no word for: a graph function by its name, a path as it is."""
    return str(value) if isinstance(value, Path) else value.__name__
