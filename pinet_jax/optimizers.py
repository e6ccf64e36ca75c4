"""Optimizers and their learning rates: Adam as in the papers, Muon for starts from nothing."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer and its learning rate; by default the paper's for OCHuman."""

    # "muon" needs fewer images from a random start (see `make_optimizer`); the paper has Adam.
    method: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3  # at its highest
    schedule: Literal["step", "cosine"] = "step"  # cosine ends at 0
    drops: tuple[float, ...] = (90, 120)  # epochs at which "step" divides the rate by 10
    warmup_epochs: float = 0  # the rate rises linearly through so many epochs
    gradient_clip: float | None = None  # the greatest norm of all gradients together
    weight_decay: float = 0.0  # decoupled, of kernels and matrices


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule, output_layers: tuple[str, ...] = ()
) -> optax.GradientTransformation:
    """Adam or Muon, behind the clip.

    Muon moves a hidden layer's weights by the orthogonal matrix nearest to their momentum, scaled
    to the size of Adam's steps. What is no matrix, and `output_layers`, are Adam's; both look ahead
    as Nesterov does.

    Args:
        config: which, and its clip.
        schedule: the learning rate.
        output_layers: names of layers that Muon leaves to Adam.

    References:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024; the scale
        from Liu et al., Muon is scalable for LLM training, 2025.
    """
    if config.method == "adam":
        optimizer = optax.adamw(schedule, weight_decay=config.weight_decay, mask=_matrices)
    else:
        optimizer = optax.contrib.muon(
            schedule,
            consistent_rms=0.2,
            weight_decay=config.weight_decay,
            adam_weight_decay=config.weight_decay,
            weight_decay_mask=_matrices,
            muon_weight_dimension_numbers=lambda params: _hidden_matrices(params, output_layers),
        )
    if config.gradient_clip is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), optimizer)


def _matrices(params: dict[str, Any]) -> dict[str, Any]:
    """What decays: neither biases nor normalisations."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def _hidden_matrices(params: dict[str, Any], output_layers: tuple[str, ...]) -> dict[str, Any]:
    """How Muon sees each parameter as a matrix; None where it does not."""

    def matrix(path: tuple[Any, ...], x: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        *layers, leaf = (key.key for key in path)
        if leaf not in ("kernel", "weight") or not set(layers).isdisjoint(output_layers):
            return None
        if x.ndim == 4 and x.shape[2] == 1:  # depthwise: a filter a channel, no matrix
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1)

    return jax.tree_util.tree_map_with_path(matrix, params)


def learning_rate(
    config: OptimizerConfig, epochs: float, steps_per_epoch: float, shift: int = 0
) -> optax.Schedule:
    """The learning rate as a function of the step; that of step 0 is reached at step `shift`."""
    if config.schedule == "step":
        steps = [int(np.ceil(epoch * steps_per_epoch)) for epoch in config.drops]
        rate = optax.piecewise_constant_schedule(config.learning_rate, dict.fromkeys(steps, 0.1))
    else:
        steps_in_all = max(int(np.ceil(epochs * steps_per_epoch)), 1)
        rate = optax.cosine_decay_schedule(config.learning_rate, steps_in_all)
    warmup = max(config.warmup_epochs * steps_per_epoch, 1)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        taken = (jnp.asarray(step) - shift).astype(jnp.float32)
        return rate(taken) * jnp.minimum((taken + 1) / warmup, 1)

    return schedule
