"""Which network a command tests, and how: what the flags --checkpoint and --config mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from pinet_jax.checkpoints import load_config as stored_config
from pinet_jax.checkpoints import load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.interop.model_files import Model
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.pretrained import PHOTOGRAPHS


class ChosenNetwork(NamedTuple):
    """A network before it is read.

    Attributes:
        checkpoint: where it is.
        experiment: the one that was named; the checkpoint must hold its method.
        trained_on: for the reader of figures.
    """

    checkpoint: Path
    experiment: ExperimentConfig | None
    trained_on: str

    def read(self) -> Model:
        """Reads it; its size is its own, as after `train --model.backbone.width 48`.

        Raises:
            InputError: the checkpoint is no whole one, or holds another method, or other keypoints,
                than the experiment.
        """
        if self.experiment is None:
            return load_model(self.checkpoint)
        expected = self.experiment.model
        try:
            model = load_model(self.checkpoint)
        except InputError:  # a graph of the user's own, which the experiment has; or it is broken
            return load_model(self.checkpoint, expected)
        if _kind(model.method) != _kind(expected):
            raise InputError(
                f"{self.checkpoint}: holds {_in_words(model.method)}, the config names "
                f"{_in_words(expected)}"
            )
        return model


def _kind(method: Method) -> tuple[type[Method], tuple[str, ...]]:
    return type(method), method.skeleton.keypoints


def _in_words(method: Method) -> str:
    return f"{type(method).__name__} with the keypoints {method.skeleton.name}"


def choose_network(checkpoint: Path | None, config: str | None) -> ChosenNetwork:
    """The named network; without a name, the one in the package, which is then said.

    Args:
        checkpoint: where it is.
        config: of its experiment.

    Raises:
        UsageError: there is no such config, or the package has no network of it.
    """
    experiment = None if config is None else load_config(config)
    if checkpoint is not None and experiment is None:
        return ChosenNetwork(checkpoint, None, "not stated; name its --config")
    if checkpoint is None:
        if experiment is not None and experiment.model != load_config("photographs").model:
            raise UsageError(
                f"--config {config}: give its --checkpoint; the package has a network of the "
                "config photographs alone"
            )
        print(
            "no --checkpoint: this is the small network that comes with the package, trained on a "
            "few thousand photographs; for a larger one `convert` released weights, or `train`"
        )
        checkpoint = PHOTOGRAPHS
    known = experiment or load_config("photographs")
    if known.packed is not None:
        trained_on = "packs of photographs"
    elif known.synthetic is not None:
        trained_on = "rendered crowds"
    else:
        trained_on = f"{known.data.dataset} {known.data.train_split}"
    return ChosenNetwork(checkpoint, experiment, trained_on)


def procedure_of(checkpoint: str | None, config: str | None) -> InferenceConfig:
    """How a network is tested where no flag says otherwise.

    Args:
        checkpoint: as for `choose_network`.
        config: of the experiment, whose procedure it is. Without it, a checkpoint is tested as it
            says itself, and the package's network as it was trained.

    Raises:
        UsageError: there is no such config.
    """
    if config is not None:
        return load_config(config).inference
    try:
        return stored_config(checkpoint or PHOTOGRAPHS)[1]
    except InputError:  # said when it is read, after all flags have been looked at
        return PINetInference()
