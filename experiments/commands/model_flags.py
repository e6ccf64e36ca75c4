"""A network's fields as flags: what commands share that make the network of a config.

Apart from `flags`, which every command reads, also those that do not wait for JAX.
"""

from __future__ import annotations

from collections.abc import Sequence

from experiments.commands.flags import given
from experiments.configs import load_config
from pinet_jax.methods.base import Method


def named_model(arguments: Sequence[str]) -> Method:
    """The network of the config that --config names; PINet where none is named.

    Raises:
        UsageError: there is no such config.
    """
    return load_config(given(arguments, "--config") or "ochuman").model
