"""A config's fields as flags: what commands share that read the config of --config.

Apart from `flags`, which every command reads, also those that do not wait for JAX.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.commands.flags import given
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from pinet_jax.methods.base import Method


def named_experiment(arguments: Sequence[str]) -> ExperimentConfig:
    """What --config names; the paper's for OCHuman where it names nothing.

    Raises:
        UsageError: there is no such config.
    """
    return load_config(given(arguments, "--config") or "ochuman")


def named_model(arguments: Sequence[str]) -> Method:
    """The network of what --config names.

    Raises:
        UsageError: there is no such config.
    """
    return named_experiment(arguments).model
