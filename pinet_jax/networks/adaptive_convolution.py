"""The adaptive convolution of DEKR: a 3 x 3 convolution whose taps an affine map moves.

At each position p the nine taps g of the regular grid are read at p + T g + t, between positions;
the matrix T and the translation t are made from the input around p. With T and t zero, all taps
read p itself. Groups of channels are convolved on their own.

Legend for shapes: B images, maps of h x w positions, G groups of C channels in and D out,
M positions of a group. Positions are (y, x).

References:
    Geng et al., Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression, CVPR 2021,
    section 3.2, and its released code.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.layers import Compute, at_least_float32, make_layers, relu

# The taps' (y, x) from their position, in the order of a kernel's rows.
TAPS = np.stack(np.meshgrid([-1, 0, 1], [-1, 0, 1], indexing="ij"), axis=-1).reshape(9, 2)

# A map's values [B, G, M, C] at integer positions [B, G, M, 2]; zero outside of the map.
Read = Callable[[jax.Array], jax.Array]


def sample_maps(maps: jax.Array, yx: jax.Array) -> jax.Array:
    """Reads maps between their positions, bilinearly; zero outside of them.

    Args:
        maps: [B, h, w, C].
        yx: float [B, N, 2], one set of positions an image.

    Returns:
        [B, N, C], float32 (or float64).
    """
    _, h, w, _ = maps.shape
    # A margin of zeros, so that a window of 2 x 2 is there for all positions that read any value.
    padded = jnp.pad(maps, ((0, 0), (1, 2), (1, 2), (0, 0)))
    yx = jnp.clip(yx, -1, np.array([[[h, w]]], yx.dtype))
    corner = jnp.floor(yx)
    windows = jax.vmap(_windows)(padded, corner.astype(jnp.int32) + 1)  # [B, N, 2, 2, C]
    fraction = yx - corner
    weights = jnp.stack([1 - fraction, fraction], axis=-1)  # [B, N, 2 (y or x), 2]
    weights = weights[:, :, 0, :, None] * weights[:, :, 1, None, :]
    return (at_least_float32(windows) * weights[..., None]).sum(axis=(2, 3))


def _windows(image: jax.Array, start: jax.Array) -> jax.Array:
    """The windows of 2 x 2 positions of [h, w, C] that begin at [N, 2]: [N, 2, 2, C]."""
    dimensions = jax.lax.GatherDimensionNumbers(
        offset_dims=(1, 2, 3), collapsed_slice_dims=(), start_index_map=(0, 1)
    )
    return jax.lax.gather(image, start, dimensions, (2, 2, image.shape[-1]), mode="clip")


def tap_positions(yx: jax.Array, affine: jax.Array) -> jax.Array:
    """Where the nine taps of positions are.

    Args:
        yx: [..., 2], integers.
        affine: [..., 6], the matrix (row by row, y before x) and the translation.

    Returns:
        [..., 9, 2].
    """
    matrix = affine[..., :4].reshape(*affine.shape[:-1], 1, 2, 2)
    taps = TAPS.astype(affine.dtype).reshape((1,) * (affine.ndim - 1) + (9, 1, 2))
    # Written out: a product of matrices as small as these would be read from memory.
    moved = matrix[..., 0] * taps[..., 0] + matrix[..., 1] * taps[..., 1]
    return yx[..., None, :].astype(affine.dtype) + (moved + affine[..., None, 4:])


class TapWeights(NamedTuple):
    """The weights of groups, their first axis.

    Attributes:
        affine_kernel: [G, 3, 3, C, 6], makes matrix and translation.
        affine_bias: [G, 6].
        kernel: [G, 9 * C, D], of the taps.
    """

    affine_kernel: jax.Array
    affine_bias: jax.Array
    kernel: jax.Array


def adaptive_convolution(x: jax.Array, weights: TapWeights) -> jax.Array:
    """The convolution of whole maps.

    One group is done at a time, and once more for the gradient: what its taps read is nine times
    the map, and stays in the processor's cache.

    Args:
        x: [G, B, h, w, C].
        weights: of the groups.

    Returns:
        [G, B, h, w, D], in the kernel's dtype.
    """
    _, b, h, w, c = x.shape
    positions = np.stack(np.meshgrid(np.arange(h), np.arange(w), indexing="ij"), axis=-1)

    def convolve_group(inputs: tuple[jax.Array, TapWeights]) -> jax.Array:
        maps, own = inputs
        affine = _convolve(at_least_float32(maps), own.affine_kernel)
        affine = affine + own.affine_bias[None, None, None]
        yx = tap_positions(jnp.asarray(positions)[None], affine)  # [B, h, w, 9, 2]
        taps = sample_maps(maps, yx.reshape(b, h * w * 9, 2)).astype(own.kernel.dtype)
        return taps.reshape(b, h, w, 9 * c) @ own.kernel

    return jax.lax.map(jax.checkpoint(convolve_group, prevent_cse=False), (x, weights))


def adaptive_convolution_at(
    read: Read, yx: jax.Array, weights: TapWeights
) -> tuple[jax.Array, jax.Array]:
    """The convolution at some positions alone.

    Args:
        read: the input.
        yx: int32 [B, G, M, 2], on the map.
        weights: of the groups.

    Returns:
        Its values there, [B, G, M, D], and the input's, [B, G, M, C].
    """
    b, g, m, _ = yx.shape
    around = (yx[..., None, :] + TAPS[None, None, None]).reshape(b, g, m * 9, 2)
    neighbours = read(around).reshape(b, g, m, -1)  # [B, G, M, 9 * C]
    c = neighbours.shape[-1] // 9
    kernel = weights.affine_kernel.reshape(g, 9 * c, 6)
    affine = jnp.einsum("bgmk,gkd->bgmd", at_least_float32(neighbours), kernel)
    affine = affine + weights.affine_bias[None, :, None]
    taps = _read_between(read, tap_positions(yx, affine).reshape(b, g, m * 9, 2))
    taps = taps.reshape(b, g, m, 9 * c).astype(weights.kernel.dtype)
    center = neighbours[..., 4 * c : 5 * c]
    return jnp.einsum("bgmk,gkd->bgmd", taps, weights.kernel), center


def _read_between(read: Read, yx: jax.Array) -> jax.Array:
    """Bilinear values [B, G, M, C] at positions [B, G, M, 2]."""
    b, g, m, _ = yx.shape
    corner = jnp.floor(yx)
    fraction = (yx - corner)[..., None, :]
    steps = np.array([[0, 0], [0, 1], [1, 0], [1, 1]]).reshape(1, 1, 1, 4, 2)
    weights = jnp.where(steps == 1, fraction, 1 - fraction).prod(axis=-1)  # [B, G, M, 4]
    corners = corner.astype(jnp.int32)[..., None, :] + steps
    values = read(corners.reshape(b, g, m * 4, 2)).reshape(b, g, m, 4, -1)
    return (at_least_float32(values) * weights[..., None]).sum(axis=-2)


def read_maps(maps: jax.Array) -> Read:
    """Reads [B, G, h, w, C]."""
    return read_inside(lambda yx: _take(maps, yx), maps.shape[2:4])


def read_inside(read: Read, shape: tuple[int, ...]) -> Read:
    """Makes a function for positions on a map of this height and width one for all positions."""
    last = np.array(shape, np.int32).reshape(1, 1, 1, 2) - 1

    def read_all(yx: jax.Array) -> jax.Array:
        inside = ((yx >= 0) & (yx <= last)).all(axis=-1, keepdims=True)
        values = read(jnp.clip(yx, 0, last))
        return jnp.where(inside, values, jnp.zeros((), values.dtype))

    return read_all


def _take(maps: jax.Array, yx: jax.Array) -> jax.Array:
    return jax.vmap(jax.vmap(lambda image, at: image[at[:, 0], at[:, 1]]))(maps, yx)


def _convolve(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 3 x 3 convolution that keeps the size of [B, h, w, C]."""
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
    )


class GroupedWeights(nn.Module):
    """The weights of a grouped 3 x 3 convolution, kept as layers keep theirs: outputs last.

    Attributes:
        channels: C and D.
        groups: G.
        kernel_init: a rule.
        use_bias: whether there is one; otherwise it is zero.
    """

    channels: tuple[int, int]
    groups: int
    kernel_init: initializers.Initializer
    use_bias: bool = True

    @nn.compact
    def __call__(self) -> tuple[jax.Array, jax.Array]:
        """The kernel [G, 3, 3, C, D] and the bias [G, D]."""
        c, d = self.channels
        shape = (3, 3, c, self.groups * d)
        kernel = self.param("kernel", self.kernel_init, shape)
        kernel = jnp.moveaxis(kernel.reshape(*shape[:3], self.groups, d), 3, 0)
        if not self.use_bias:
            return kernel, jnp.zeros((self.groups, d), kernel.dtype)
        bias = self.param("bias", initializers.zeros, shape[3:])
        return kernel, bias.reshape(self.groups, d)


class AdaptiveBlock(nn.Module):
    """An adaptive convolution, its normalisation, and a shortcut; keeps the shape.

    Attributes:
        groups: G.
        channels: C.
        compute: how it computes; the taps' places are float32 always.
    """

    groups: int
    channels: int
    compute: Compute

    def setup(self) -> None:
        """Makes the layers; the released code calls `conv` adapt_conv."""
        c, g = self.channels, self.groups
        self.transform_matrix_conv = GroupedWeights((c, 4), g, initializers.zeros)
        self.translation_conv = GroupedWeights((c, 2), g, initializers.zeros)
        rule = initializers.fan_in_uniform(9 * c)
        self.conv = GroupedWeights((c, c), g, rule, use_bias=self.compute.folded)
        self.bn = make_layers(self.compute).norm(name=None)

    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, G * C] -> the same."""
        b, h, w, _ = x.shape
        groups = jnp.moveaxis(x.reshape(b, h, w, self.groups, -1), 3, 0)
        weights, bias = self._weights()
        y = jnp.moveaxis(adaptive_convolution(groups, weights), 0, 3)  # [B, h, w, G, C]
        y = (y + bias[None, None, None]).reshape(x.shape)
        return relu(x + self.bn(y))

    def multiply_adds(self, x: jax.Array) -> int:
        """Of matrices, translations and taps; reading between positions is not counted."""
        return x.size * 9 * (self.channels + 6)

    def at(self, read: Read, yx: jax.Array) -> jax.Array:
        """The block's values at some positions; for networks whose normalisations are folded.

        Args:
            read: the input.
            yx: int32 [B, G, M, 2], on the map.

        Returns:
            [B, G, M, C].
        """
        assert self.compute.folded
        weights, bias = self._weights()
        y, x = adaptive_convolution_at(read, yx, weights)
        return nn.relu(x + y + bias[None, :, None])

    def _weights(self) -> tuple[TapWeights, jax.Array]:
        matrix, matrix_bias = self.transform_matrix_conv()
        translation, translation_bias = self.translation_conv()
        kernel, bias = self.conv()
        kernel = kernel.reshape(self.groups, 9 * self.channels, self.channels)
        weights = TapWeights(
            jnp.concatenate([matrix, translation], axis=-1),
            jnp.concatenate([matrix_bias, translation_bias], axis=-1),
            kernel.astype(self.compute.dtype),
        )
        return weights, bias.astype(self.compute.dtype)
