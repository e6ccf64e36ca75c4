"""ResNet, the backbone of SimpleBaseline (He et al., Deep residual learning, CVPR 2016).

Legend for shapes: B images of H x W pixels, C channels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig
from pinet_jax.models.layers import Layers, make_layers, relu

STRIDE = 32  # input pixels a pixel of the features


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Widths and depths of the backbone; as it stands, ResNet-50."""

    width: int = 64  # of the stem and of layer1's waist; every later layer has twice as many
    blocks: tuple[int, ...] = (3, 4, 6, 3)  # bottlenecks of layer1, layer2, ...


RESNET_50 = ResNetConfig()
RESNET_101 = ResNetConfig(blocks=(3, 4, 23, 3))
RESNET_152 = ResNetConfig(blocks=(3, 8, 36, 3))


class StridedBottleneck(nn.Module):
    """Three convolutions around a narrow waist, and a shortcut; the middle one has the stride."""

    width: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, layers: Layers) -> jax.Array:
        """[B, h, w, C] -> [B, h / stride, w / stride, 4 * width]."""
        conv, norm = layers
        width, stride = self.width, self.stride
        y = relu(norm(name="bn1")(conv(width, 1, name="conv1")(x)))
        y = relu(norm(name="bn2")(conv(width, 3, stride=stride, name="conv2")(y)))
        y = norm(name="bn3")(conv(4 * width, 1, name="conv3")(y))
        if x.shape != y.shape:
            x = conv(4 * width, 1, stride=stride, name="downsample.0")(x)
            x = norm(name="downsample.1")(x)
        return relu(x + y)


class ResNet(nn.Module):
    """The backbone, without its classifier.

    Attributes:
        config: widths and depths.
        folded: whether the normalisations are folded into the convolutions.
        dtype: of the computation.
        batch_norm: how statistics are taken in training.
        remat: keep only what goes in and out of blocks for the gradient, and compute the rest
            again: less memory, more time.
    """

    config: ResNetConfig
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of 32.
            train: whether batch statistics are used and updated.

        Returns:
            [B, H / 32, W / 32, 32 * config.width].
        """
        layers = make_layers(
            train=train, folded=self.folded, dtype=self.dtype, batch_norm=self.batch_norm
        )
        # Layers are functions, no arrays: static to the transformation (self is argument 0).
        block = (
            nn.remat(StridedBottleneck, static_argnums=(2,)) if self.remat else StridedBottleneck
        )
        conv, norm = layers
        x = conv(self.config.width, 7, stride=2, name="conv1")(images.astype(self.dtype))
        x = relu(norm(name="bn1")(x))  # [B, H / 2, W / 2, C]
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # [B, H / 4, W / 4, C]
        for layer, blocks in enumerate(self.config.blocks):
            for i in range(blocks):
                stride = 2 if layer > 0 and i == 0 else 1
                name = f"layer{layer + 1}.{i}"
                x = block(self.config.width * 2**layer, stride, name=name)(x, layers)
        return x
