"""Top-down networks: a person's crop goes in, a heatmap for every keypoint comes out.

SimpleBaseline (Xiao et al., Simple baselines for human pose estimation and tracking, ECCV 2018) is
a ResNet and transposed convolutions; the other one is an HRNet's finest branch (Sun et al., Deep
High-Resolution Representation Learning, CVPR 2019). Both share the scope of their backbone, so that
their parameters have the released code's names.

Legend for shapes: B crops of H x W pixels, maps of h = H / 4 by w = W / 4, C channels, K keypoints.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig, HRNetConfig
from pinet_jax.models.hrnet import HRNet
from pinet_jax.models.layers import (
    at_least_float32,
    convolve,
    make_layers,
    materialized,
    multiply,
    relu,
)
from pinet_jax.networks.resnet import ResNet, ResNetConfig

_UPSAMPLINGS = 3  # transposed convolutions, each of which doubles the resolution
_UPSAMPLED_WIDTH = 256


class SimpleBaseline(nn.Module):
    """ResNet, three transposed convolutions and a 1 x 1 convolution.

    Attributes:
        backbone: of the ResNet.
        num_keypoints: K.
        folded: whether the normalisations are folded into the convolutions (inference only).
        dtype: of the computation; heatmaps are float32.
        batch_norm: how statistics are taken in training.
        remat: compute the backbone's inner results again for the gradient, to save memory.
    """

    backbone: ResNetConfig
    num_keypoints: int
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False

    def setup(self) -> None:
        """Makes the three modules."""
        options = {"folded": self.folded, "dtype": self.dtype, "batch_norm": self.batch_norm}
        self.trunk = ResNet(self.backbone, remat=self.remat, **options)
        self.upsampling = Upsampling(**options)
        self.head = HeatmapHead(self.num_keypoints)
        for module in (self.trunk, self.upsampling, self.head):
            nn.share_scope(self, module)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Normalised crops [B, H, W, 3] -> heatmaps [B, h, w, K]; H and W are multiples of 32."""
        return self.head(self.upsampling(self.trunk(images, train), train))


class TopDownHRNet(nn.Module):
    """An HRNet's finest branch and a 1 x 1 convolution; attributes as `SimpleBaseline`'s."""

    backbone: HRNetConfig
    num_keypoints: int
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False

    def setup(self) -> None:
        """Makes the two modules."""
        options = {"folded": self.folded, "dtype": self.dtype, "batch_norm": self.batch_norm}
        self.trunk = HRNet(self.backbone, remat=self.remat, finest_only=True, **options)
        self.head = HeatmapHead(self.num_keypoints)
        for module in (self.trunk, self.head):
            nn.share_scope(self, module)

    def __call__(self, images: jax.Array, train: bool = False) -> jax.Array:
        """Normalised crops [B, H, W, 3] -> heatmaps [B, h, w, K]; H and W are multiples of 32."""
        return self.head(self.trunk(images, train))


class Upsampling(nn.Module):
    """Transposed convolutions, each with a normalisation; attributes as `SimpleBaseline`'s."""

    folded: bool
    dtype: Any
    batch_norm: BatchNormConfig

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """[B, H / 32, W / 32, C] -> [B, h, w, 256]."""
        _, norm = make_layers(
            train=train, folded=self.folded, dtype=self.dtype, batch_norm=self.batch_norm
        )
        for i in range(_UPSAMPLINGS):
            name = "deconv_layers.{}".format  # every third one is the released code's ReLU
            x = TransposedConv(_UPSAMPLED_WIDTH, self.folded, self.dtype, name=name(3 * i))(x)
            x = relu(norm(name=name(3 * i + 1))(x))
        return x


class HeatmapHead(nn.Module):
    """The 1 x 1 convolution that puts out heatmaps, in float32."""

    num_keypoints: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, K]."""
        features = at_least_float32(features)
        conv = nn.Conv(
            self.num_keypoints,
            (1, 1),
            dtype=features.dtype,
            kernel_init=nn.initializers.normal(0.001),
            conv_general_dilated=multiply,
            name="final_layer",
        )
        return conv(features)


class TransposedConv(nn.Module):
    """A transposed convolution, 4 x 4 with stride 2: doubles the resolution exactly.

    Attributes:
        features: channels of the output.
        use_bias: whether it has a bias.
        dtype: of the computation.
    """

    features: int
    use_bias: bool
    dtype: Any

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, 2h, 2w, features]."""
        shape = (4, 4, self.features, x.shape[-1])
        init = nn.initializers.normal(0.001)
        kernel = self.param("transposed_kernel", init, shape, jnp.float32)
        x, kernel = x.astype(self.dtype), kernel.astype(self.dtype)
        y = transposed_convolution(x, kernel)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros_init(), shape[2:3], jnp.float32)
            y = y + bias.astype(self.dtype).reshape(1, 1, 1, -1)
        return y


def transposed_convolution(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The gradient of a 4 x 4 convolution with stride 2 and padding 1, as an operation of its own.

    An output pixel hears 2 x 2 input pixels, by one of four quarters of the kernel: four small
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
