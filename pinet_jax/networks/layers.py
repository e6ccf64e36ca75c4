"""Convolution and normalisation as all modules use them.

Modules are named so that a parameter's path, joined by dots, is the layer's name in the reference's
state dict (`interop/state_dict.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from pinet_jax.networks import initializers
from pinet_jax.networks.blocks import Blocks, convolve_blocks, repeat_blocks
from pinet_jax.networks.materialization import materialized

_MOMENTUM = 0.1  # of the newest batch, as torch counts it
BATCH_NORM_EPSILON = 1e-5


@dataclasses.dataclass(frozen=True)
class BatchNormConfig:
    """How statistics are taken in training; by default over the whole batch of all devices."""

    # Images that share their statistics; the batch is a multiple of it. The reference's are those
    # of one GPU: 10. Running statistics take the groups' mean.
    group_size: int | None = None
    unbiased_running_variance: bool = False  # torch's, n - 1 in the denominator


@dataclasses.dataclass(frozen=True)
class Compute:
    """How a network computes, beside what it is made of.

    Attributes:
        dtype: of hidden layers; parameters, statistics and results are float32 (at least).
        train: normalise with the batch's own statistics, and update the running ones.
        folded: the variables went through `folding.fold_batch_norm`: convolutions have a bias, and
            nothing normalises. For testing only.
        batch_norm: how statistics are taken in training.
        remat: compute inner results of the backbone again for the gradient: less memory, more
            time.
        tpus: the devices, along one axis, of a program that a batch is split in; for it HRNets keep
            maps of few channels as blocks of positions, and PINet's heads are one product, which
            is less traffic. None: for anything else.
    """

    dtype: Any = jnp.float32
    train: bool = False
    folded: bool = False
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False
    tpus: Mesh | None = None


class Layers(NamedTuple):
    """How a module makes its layers: a convolution without activation, and its normalisation."""

    conv: Callable[..., Any]
    norm: Callable[..., Any]


def make_layers(compute: Compute) -> Layers:
    """The layers of a module."""
    conv = partial(_conv, use_bias=compute.folded, dtype=compute.dtype)
    if compute.folded:
        return Layers(conv, _no_norm)
    return Layers(conv, partial(BatchNorm, compute.train, compute.batch_norm))


def make_block_layers(compute: Compute) -> Layers:
    """The layers of a module whose maps are `Blocks`, if the computation wants them."""
    layers = make_layers(compute)
    if compute.tpus is None:
        return layers
    conv = partial(BlockConvolution, compute.tpus, dtype=compute.dtype)
    return Layers(conv, layers.norm)


class BlockConvolution(nn.Module):
    """A convolution of blocks with the parameters of a usual one, without bias.

    Attributes:
        devices: that the maps are split between, by images.
        features: channels of the result.
        size: of the kernel, odd.
        stride: between the positions that it is placed at.
        dtype: that it computes in.
    """

    devices: Mesh
    features: int
    size: int
    stride: int = 1
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array | Blocks) -> Blocks:
        """A map [B, h, w, C], in blocks or not, to one in blocks."""
        if not isinstance(x, Blocks):
            x = Blocks(x, (1, 1))
        shape = (self.size, self.size, x.shape[-1], self.features)
        kernel = self.param("kernel", initializers.normal(0.001), shape)
        axes = self.devices.axis_names

        def convolve(own: Blocks, kernel: jax.Array) -> Blocks:
            # A kernel for each device: what they exchange is its gradient, and not that of the
            # larger one which is made from it.
            return convolve_blocks(own, jax.lax.pcast(kernel, axes, to="varying"), self.stride)

        images, whole = PartitionSpec(axes), PartitionSpec()
        on_each = jax.shard_map(
            convolve, mesh=self.devices, in_specs=(images, whole), out_specs=images
        )
        return on_each(x, kernel.astype(self.dtype))


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
    def __call__(self, x: Any, mask: jax.Array | None = None) -> Any:
        """Normalises [B, ..., C].

        Args:
            x: the input, in blocks or not; the result has its shape and dtype.
            mask: booleans with x's rank, 1 on some axes and at the end; what is False counts in
                no statistics. None for blocks.
        """
        if isinstance(x, Blocks):
            return Blocks(self._normalised(x.array, None, math.prod(x.block)), x.block)
        return self._normalised(x, mask, 1)

    def _normalised(self, x: jax.Array, mask: jax.Array | None, copies: int) -> jax.Array:
        """Channels of x, on the last axis, come so many times side by side."""
        shape = (x.shape[-1] // copies,)
        scale = self.param("scale", initializers.ones, shape)
        bias = self.param("bias", initializers.zeros, shape)
        running_mean = self.variable("batch_stats", "mean", initializers.zeros, None, shape)
        running_var = self.variable("batch_stats", "var", initializers.ones, None, shape)
        if not self.train:
            factor, summand = _affine(running_mean.value, running_var.value, scale, bias)
            return _apply_affine(x, jnp.tile(factor, copies), jnp.tile(summand, copies))

        groups = len(x) // (self.config.group_size or len(x))
        rows = x.reshape(groups, -1, *x.shape[1:])
        if mask is None:
            count: int | jax.Array = math.prod(rows.shape[1:-1]) * copies
        else:
            mask = jnp.broadcast_to(mask, (*x.shape[:-1], 1)).reshape(*rows.shape[:-1], 1)
            count = mask.sum(tuple(range(1, rows.ndim - 1)), dtype=jnp.int32)  # [groups, 1]
        mean, var = _statistics(rows, mask, count, copies)
        factor, summand = jax.vmap(_affine, in_axes=(0, 0, None, None))(mean, var, scale, bias)
        factor, summand = jnp.tile(factor, copies), jnp.tile(summand, copies)
        if not self.is_initializing():
            if self.config.unbiased_running_variance:
                var = var * _ratio(count, count - 1, var.dtype)
            running_mean.value = _update_running(running_mean.value, mean, count)
            running_var.value = _update_running(running_var.value, var, count)
        return jax.vmap(_apply_affine)(rows, factor, summand).reshape(x.shape)


def _statistics(
    rows: jax.Array, mask: jax.Array | None, count: int | jax.Array, copies: int
) -> tuple[jax.Array, jax.Array]:
    """Mean and variance [groups, C] over all axes but the first and last, and over the copies."""
    axes = tuple(range(1, rows.ndim - 1))
    rows = at_least_float32(rows)
    if mask is not None:
        rows = jnp.where(mask, rows, 0)
    share = _ratio(1, count, rows.dtype)

    def mean_of(x: jax.Array) -> jax.Array:
        return x.sum(axes).reshape(len(x), copies, -1).sum(1) * share

    mean, square = mean_of(rows), mean_of(rows * rows)
    return mean, jnp.maximum(square - mean * mean, 0)


def _ratio(above: int | jax.Array, below: int | jax.Array, dtype: Any) -> Any:
    """A quotient of counts; of numbers where they are known, which costs no operation."""
    if isinstance(below, int):
        return above / max(below, 1)
    return jnp.asarray(above, dtype) / jnp.maximum(below, 1).astype(dtype)


def _update_running(held: jax.Array, new: jax.Array, count: int | jax.Array) -> jax.Array:
    """Moves running statistics [C] towards the mean of the groups [groups, C] that hold any."""
    if isinstance(count, int):
        return held + _MOMENTUM * (new.mean(axis=0) - held)
    filled = (count > 0).astype(held.dtype)  # [groups, 1]
    share = filled / jnp.maximum(filled.sum(), 1)
    return held + _MOMENTUM * (share * (new - held[None])).sum(axis=0)


def _affine(
    mean: jax.Array, var: jax.Array, scale: jax.Array, bias: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Normalisation as one product and one sum an element, all [C]."""
    factor = scale * jax.lax.rsqrt(var + BATCH_NORM_EPSILON)
    return factor, bias - mean * factor


def _apply_affine(x: jax.Array, factor: jax.Array, summand: jax.Array) -> jax.Array:
    shape = (1,) * (x.ndim - 1) + (-1,)
    return (at_least_float32(x) * factor.reshape(shape) + summand.reshape(shape)).astype(x.dtype)


def at_least_float32(x: jax.Array) -> jax.Array:
    """Raises half precision to float32; leaves float32 and float64 as they are."""
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _conv(
    features: int, size: int, *, stride: int = 1, padding: Any = None, **options: Any
) -> nn.Conv:
    return nn.Conv(
        features,
        (size, size),
        strides=stride,
        # torch's padding by default; 'SAME' is not symmetric at stride 2
        padding=size // 2 if padding is None else padding,
        conv_general_dilated=convolve if stride > 1 or size > 1 else multiply,
        kernel_init=initializers.normal(0.001),
        bias_init=initializers.zeros,
        **options,
    )


def convolve(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """`lax.conv_general_dilated`, its output `materialized`."""
    return materialized(jax.lax.conv_general_dilated(x, kernel, *args, **options))


def multiply(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """A 1 x 1 convolution as the matrix product that it is: faster on a CPU, gradients above all.

    Args:
        x: [B, h, w, C].
        kernel: [1, 1, C, D].
        *args: of `lax.conv_general_dilated`, as all others without a meaning here.
        **options: likewise.
    """
    del args, options
    return materialized(x @ kernel[0, 0])


def relu(x: Any) -> Any:
    """The larger of x and 0, `materialized`; x in blocks or not."""
    return jax.tree.map(lambda array: materialized(nn.relu(array)), x)


def _no_norm(*, name: str) -> Callable[..., jax.Array]:
    del name
    return lambda x, mask=None: x


def upsample_nearest(x: Any, factor: int) -> Any:
    """Repeats every position `factor` times in both directions; x is [B, h, w, C], or in blocks."""
    if isinstance(x, Blocks):
        return repeat_blocks(x, factor)
    b, h, w, c = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (b, h, factor, w, factor, c))
    return x.reshape(b, h * factor, w * factor, c)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """Enlarges [B, h, w, C] by an even factor in both directions, with half-pixel centres."""
    return _enlarge(_enlarge(x, factor, axis=2), factor, axis=1)


def _enlarge(x: jax.Array, factor: int, axis: int) -> jax.Array:
    """Linear interpolation along one axis; beyond the ends the outermost values go on."""
    size = x.shape[axis]
    piece = functools.partial(jax.lax.slice_in_dim, axis=axis)
    x = materialized(jnp.concatenate([piece(x, 0, 1), x, piece(x, size - 1, size)], axis))
    before, here, after = (piece(x, i, i + size) for i in range(3))
    near = (np.arange(factor // 2) + 0.5) / factor  # how far a new position lies from an old one
    new = [(0.5 - f) * before + (0.5 + f) * here for f in near.tolist()]
    new += [(1 - f) * here + f * after for f in near.tolist()]
    shape = [*x.shape[:axis], size * factor, *x.shape[axis + 1 :]]
    return materialized(jnp.stack(new, axis + 1).reshape(shape))
