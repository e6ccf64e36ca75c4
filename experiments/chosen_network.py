"""Which network a command tests, and how: what the flags --checkpoint and --config mean."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.pretrained import SYNTHETIC_TINY


class ChosenNetwork(NamedTuple):
    """A network before it is read.

    Attributes:
        checkpoint: where it is.
        experiment: the one that was named; the checkpoint must hold its network.
        inference: how to test it.
        trained_on: for the reader of figures.
    """

    checkpoint: Path
    experiment: ExperimentConfig | None
    inference: InferenceConfig
    trained_on: str


def choose_network(
    checkpoint: Path | None, config: str | None, *, input_size: int | None = None, **flags: Any
) -> ChosenNetwork:
    """The named network; without a name, the one in the package, which is then said.

    Args:
        checkpoint: where it is.
        config: of its experiment.
        input_size: takes the place of the experiment's.
        **flags: likewise of other fields of its `InferenceConfig`.

    Raises:
        UsageError: there is no such config, or no input fits the flags.
    """
    experiment = None if config is None else load_config(config)
    if input_size is not None:
        flags["input_size"] = input_size
    if checkpoint is not None and experiment is None:
        inference = PINetInference(**flags)
        return ChosenNetwork(checkpoint, None, inference, "not stated; name its --config")
    if checkpoint is None:
        print(
            "no --checkpoint: this is the small network that comes with the package, trained on "
            "rendered crowds alone; for photographs, `convert` the released weights or `train`"
        )
        checkpoint = SYNTHETIC_TINY
    # Even without --config the package's network is tested as it was trained.
    known = experiment or load_config("synthetic_tiny")
    data = f"{known.data.dataset} {known.data.train_split}"
    trained_on = data if known.synthetic is None else "rendered crowds"
    inference = dataclasses.replace(known.inference, **flags)
    return ChosenNetwork(checkpoint, experiment, inference, trained_on)
