"""Convolution and normalisation as all modules use them.

Modules are named so that a parameter's path, joined by dots, is the layer's name in the reference's
state dict (`interop/state_dict.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

BatchNorm = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)  # torch's momentum 0.1


class Layers(NamedTuple):
    """How a module makes its layers: a convolution without activation, and its normalisation."""

    conv: Callable[..., Any]
    norm: Callable[..., Any]


def make_layers(*, train: bool, folded: bool, dtype: Any) -> Layers:
    """The layers of one call.

    Args:
        train: normalise with the batch's own statistics, and update the running ones.
        folded: the normalisations are folded into the convolutions (`folding.py`): convolutions
            have a bias, and nothing normalises.
        dtype: of the computation; parameters and statistics stay float32.
    """
    conv = partial(_conv, use_bias=folded, dtype=dtype)
    if folded:
        return Layers(conv, _no_norm)
    return Layers(conv, partial(BatchNorm, use_running_average=not train, dtype=dtype))


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
