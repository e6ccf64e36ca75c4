"""The transposed convolution that doubles a map's resolution.

Legend for shapes: B images, maps of h x w, C channels in and D out.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.layers import Compute, convolve
from pinet_jax.networks.materialization import materialized


class TransposedConv(nn.Module):
    """A transposed convolution, 4 x 4 with stride 2: doubles the resolution exactly.

    Attributes:
        features: channels of the output.
        compute: how it computes; where normalisations are folded it has a bias.
    """

    features: int
    compute: Compute = Compute()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, 2h, 2w, features]."""
        shape = (4, 4, self.features, x.shape[-1])
        kernel = self.param("transposed_kernel", initializers.normal(0.001), shape)
        dtype = self.compute.dtype
        y = transposed_convolution(x.astype(dtype), kernel.astype(dtype))
        if self.compute.folded:
            bias = self.param("bias", initializers.zeros, shape[2:3])
            y = y + bias.astype(dtype).reshape(1, 1, 1, -1)
        return y

    def multiply_adds(self, x: jax.Array) -> int:
        """For one call: 4 x 4 products a pixel of the input, channel and feature.

        Papers that count it as a convolution on the output have four times as many.
        """
        return 16 * x.size * self.features


def transposed_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient of a 4 x 4 convolution with stride 2 and padding 1, as an operation of its own.

    An output pixel depends on 2 x 2 input pixels, by one of four quarters of the kernel: four small
    convolutions, whose outputs are interleaved. XLA's dilated convolution gives the same, but
    multiplies the zeros between the pixels too, and its gradient takes 5 to 30 times as long.

    Args:
        x: [B, h, w, C].
        kernel: [4, 4, D, C].

    Returns:
        [B, 2h, 2w, D].
    """
    b, h, w, _ = x.shape
    kernel = kernel[::-1, ::-1].swapaxes(2, 3)  # [4, 4, C, D]

    def quarter(row: int, column: int) -> jax.Array:  # [B, h, w, D]
        return convolve(
            x,
            kernel[row::2, column::2],
            window_strides=(1, 1),
            padding=((1 - row, row), (1 - column, column)),
            dimension_numbers=("NHWC", "HWIO", "NHWC"),
        )

    rows = [jnp.stack([quarter(row, 0), quarter(row, 1)], axis=3) for row in (0, 1)]
    return materialized(jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, -1))
