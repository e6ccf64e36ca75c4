"""ResNet, the backbone of SimpleBaseline (He et al., Deep residual learning, CVPR 2016).

Legend for shapes: B images of H x W pixels, C channels.
"""

from __future__ import annotations

import dataclasses

import jax
from flax import linen as nn

from pinet_jax.networks.imagenet import PublishedAsIs
from pinet_jax.networks.layers import Compute, Layers, make_layers, relu


@dataclasses.dataclass(frozen=True)
class ResNetConfig(PublishedAsIs):
    """Widths and depths of the backbone; by default ResNet-50."""

    base_width: int = 64  # of the stem and of layer1's waist; every later layer has twice as many
    bottlenecks: tuple[int, ...] = (3, 4, 6, 3)  # of layer1, layer2, ...

    @property
    def features(self) -> int:
        """Channels of the output (2048)."""
        return 4 * self.base_width * 2 ** (len(self.bottlenecks) - 1)

    @property
    def imagenet_extras(self) -> tuple[str, ...]:
        """What published ImageNet networks have beside the backbone: beginnings of names."""
        return ("fc.",)

    def module(self, compute: Compute) -> nn.Module:
        """The network."""
        return ResNet(self, compute)


RESNET_50 = ResNetConfig()
RESNET_101 = ResNetConfig(bottlenecks=(3, 4, 23, 3))
RESNET_152 = ResNetConfig(bottlenecks=(3, 8, 36, 3))


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
        compute: with `remat`, only what goes in and out of blocks is kept for the gradient.
    """

    config: ResNetConfig
    compute: Compute = Compute()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of 32.

        Returns:
            [B, H / 32, W / 32, config.features].
        """
        layers = make_layers(self.compute)
        # Layers are functions, no arrays: static to the transformation (self is argument 0).
        remat = self.compute.remat
        block = nn.remat(StridedBottleneck, static_argnums=(2,)) if remat else StridedBottleneck
        conv, norm = layers
        width = self.config.base_width
        x = conv(width, 7, stride=2, name="conv1")(images.astype(self.compute.dtype))
        x = relu(norm(name="bn1")(x))  # [B, H / 2, W / 2, C]
        x = nn.max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))  # [B, H / 4, W / 4, C]
        for layer, bottlenecks in enumerate(self.config.bottlenecks):
            for i in range(bottlenecks):
                stride = 2 if layer > 0 and i == 0 else 1
                name = f"layer{layer + 1}.{i}"
                x = block(width * 2**layer, stride, name=name)(x, layers)
        return x
