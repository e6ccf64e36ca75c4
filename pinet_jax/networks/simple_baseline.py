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
    make_layers,
    multiply,
    relu,
)
from pinet_jax.networks.resnet import ResNet, ResNetConfig
from pinet_jax.networks.transposed_convolution import TransposedConv

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
