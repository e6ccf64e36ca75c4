"""Convolution and normalisation as all modules use them.

Modules are named so that a parameter's path, joined by dots, is the layer's name in the reference's
state dict (`interop/state_dict.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig

_MOMENTUM = 0.1  # of the newest batch, as torch counts it
_EPSILON = 1e-5


class Layers(NamedTuple):
    """How a module makes its layers: a convolution without activation, and its normalisation."""

    conv: Callable[..., Any]
    norm: Callable[..., Any]


def make_layers(*, train: bool, folded: bool, dtype: Any, batch_norm: BatchNormConfig) -> Layers:
    """The layers of one call.

    Args:
        train: normalise with the batch's own statistics, and update the running ones.
        folded: the normalisations are folded into the convolutions (`folding.py`): convolutions
            have a bias, and nothing normalises.
        dtype: of the computation; parameters and statistics stay float32.
        batch_norm: how statistics are taken in training.
    """
    conv = partial(_conv, use_bias=folded, dtype=dtype)
    if folded:
        return Layers(conv, _no_norm)
    return Layers(conv, partial(BatchNorm, train, batch_norm))


class BatchNorm(nn.Module):
    """Batch normalisation over all axes but the last; statistics are float32 at least.

    Under `jax.jit` with a sharded batch, the statistics are those of the global batch.

    Attributes:
        train: normalise with the batch's own statistics, and update the running ones.
        config: how statistics are taken.
    """

    train: bool
    config: BatchNormConfig

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """Normalises [B, ..., C].

        Args:
            x: the input; the result has its shape and dtype.
            mask: booleans with x's rank, 1 on some axes and at the end; what is False counts in
                no statistics.
        """
        shape = x.shape[-1:]
        scale = self.param("scale", nn.initializers.ones_init(), shape, jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), shape, jnp.float32)
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32)
        if not self.train:
            return _normalized(x, running_mean.value, running_var.value, scale, bias)

        groups = len(x) // (self.config.group_size or len(x))
        rows = x.reshape(groups, -1, *x.shape[1:])
        if mask is not None:
            mask = jnp.broadcast_to(mask, (*x.shape[:-1], 1)).reshape(groups, -1, *x.shape[1:-1], 1)
        mean, var, count = _statistics(rows, mask)  # [groups, 1, ..., 1, C or 1]
        held_var = var
        if self.config.unbiased_running_variance:
            held_var = var * (count / jnp.maximum(count - 1, 1))
        if not self.is_initializing():
            running_mean.value = _moved(running_mean.value, mean, count)
            running_var.value = _moved(running_var.value, held_var, count)
        return _normalized(rows, mean, var, scale, bias).reshape(x.shape)


def _statistics(rows: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Mean, variance and number of what is averaged, over all axes but the first and last."""
    axes = tuple(range(1, rows.ndim - 1))
    rows = at_least_float32(rows)
    if mask is None:
        count = jnp.full((len(rows),) + (1,) * (rows.ndim - 1), math.prod(rows.shape[1:-1]))
        count = count.astype(rows.dtype)
        mean = rows.mean(axes, keepdims=True)
        square = (rows * rows).mean(axes, keepdims=True)
    else:
        count = mask.sum(axes, keepdims=True, dtype=rows.dtype)
        rows = jnp.where(mask, rows, 0)
        mean = rows.sum(axes, keepdims=True) / jnp.maximum(count, 1)
        square = (rows * rows).sum(axes, keepdims=True) / jnp.maximum(count, 1)
    return mean, jnp.maximum(square - mean * mean, 0), count


def _moved(held: jax.Array, new: jax.Array, count: jax.Array) -> jax.Array:
    """Running statistics [C], moved towards the mean of the groups that hold anything."""
    new, counts = new.reshape(len(new), -1), count.reshape(-1, 1) > 0
    share = counts.astype(held.dtype) / jnp.maximum(counts.sum(), 1).astype(held.dtype)
    return held + _MOMENTUM * (share * (new - held[None])).sum(axis=0)


def _normalized(
    x: jax.Array, mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array
) -> jax.Array:
    # One product and one sum an element: elementwise passes are what training on a CPU spends
    # its time on.
    def spread(row: jax.Array) -> jax.Array:
        return row if row.ndim == x.ndim else row.reshape((1,) * (x.ndim - 1) + (-1,))

    factor = spread(scale) * jax.lax.rsqrt(spread(var) + _EPSILON)
    summand = spread(bias) - spread(mean) * factor
    return (at_least_float32(x) * factor + summand).astype(x.dtype)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Raises half precision to float32; leaves float32 and float64 as they are."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _conv(features: int, size: int, *, stride: int = 1, **options: Any) -> nn.Conv:
    # torch's padding; 'SAME' is not symmetric at stride 2
    return nn.Conv(features, (size, size), strides=stride, padding=size // 2, **options)


def _no_norm(*, name: str) -> Callable[..., jax.Array]:
    del name
    return lambda x, mask=None: x


def upsample_nearest(x: jax.Array, factor: int) -> jax.Array:
    """Repeats every position `factor` times in both directions; x is [B, h, w, C]."""
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, factor, w, factor, c))
    return x.reshape(b, h * factor, w * factor, c)


def upsample_bilinear(x: jax.Array, shape: tuple[int, int]) -> jax.Array:
    """Resizes [B, h, w, C] to `shape`, with half-pixel centres."""
    return jax.image.resize(x, (x.shape[0], *shape, x.shape[3]), "bilinear")
