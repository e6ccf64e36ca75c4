"""Which network a command tests, and how: what the flags --checkpoint and --config mean."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from pinet_jax.checkpoints import load_config as stored_config
from pinet_jax.errors import InputError
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.pretrained import SYNTHETIC_TINY


class ChosenNetwork(NamedTuple):
    """A network before it is read.

    Attributes:
        checkpoint: where it is.
        experiment: the one that was named; the checkpoint must hold its network.
        trained_on: for the reader of figures.
    """

    checkpoint: Path
    experiment: ExperimentConfig | None
    trained_on: str


def choose_network(checkpoint: Path | None, config: str | None) -> ChosenNetwork:
    """The named network; without a name, the one in the package, which is then said.

    Args:
        checkpoint: where it is.
        config: of its experiment.

    Raises:
        UsageError: there is no such config.
    """
    experiment = None if config is None else load_config(config)
    if checkpoint is not None and experiment is None:
        return ChosenNetwork(checkpoint, None, "not stated; name its --config")
    if checkpoint is None:
        print(
            "no --checkpoint: this is the small network that comes with the package, trained on "
            "rendered crowds alone; for photographs, `convert` the released weights or `train`"
        )
        checkpoint = SYNTHETIC_TINY
    known = experiment or load_config("synthetic_tiny")
    data = f"{known.data.dataset} {known.data.train_split}"
    trained_on = data if known.synthetic is None else "rendered crowds"
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
    if config is not None or checkpoint is None:
        return load_config(config or "synthetic_tiny").inference
    try:
        return stored_config(checkpoint)[1]
    except InputError:  # said when it is read, after all flags have been looked at
        return PINetInference()
