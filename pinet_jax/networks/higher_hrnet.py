"""HigherHRNet: heatmaps and tags of an HRNet's finest branch, and heatmaps of twice its resolution.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions, C channels,
K keypoints.

References:
    Cheng et al., HigherHRNet: scale-aware representation learning for bottom-up human pose
    estimation, CVPR 2020, and its released code, which has these layers' names.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.backbones import Backbone
from pinet_jax.networks.hrnet import BasicBlock
from pinet_jax.networks.layers import Compute, at_least_float32, make_layers, multiply, relu
from pinet_jax.networks.transposed_convolution import TransposedConv


class TaggedHeatmaps(NamedTuple):
    """What the network puts out, all float32.

    Attributes:
        heatmaps: how likely a keypoint is there: [B, h, w, K], then [B, 2h, 2w, K] and so on.
        tags: [B, h, w, K], alike for keypoints of one person.
    """

    heatmaps: tuple[jax.Array, ...]
    tags: jax.Array


class HigherHRNetNetwork(nn.Module):
    """A backbone, and a head for every resolution.

    Attributes:
        num_keypoints: K.
        backbone_config: what makes the features.
        doublings: of the resolution; without any it is the network of associative embedding.
        blocks: after each doubling.
        compute: how it computes.
    """

    num_keypoints: int
    backbone_config: Backbone
    doublings: int
    blocks: int
    compute: Compute = Compute()

    def setup(self) -> None:
        """Makes the backbone."""
        self.backbone = self.backbone_config.module(self.compute)

    def __call__(self, images: jax.Array) -> TaggedHeatmaps:
        """Normalised images [B, H, W, 3] -> heatmaps and tags; H and W are multiples of 32."""
        return self.heads(self.backbone(images))

    @nn.compact
    def heads(self, features: jax.Array) -> TaggedHeatmaps:
        """The backbone's features [B, h, w, C] -> heatmaps and tags."""
        layers = make_layers(self.compute)
        output = self._output(features, 2 * self.num_keypoints, 0)
        heatmap, tags = jnp.split(output, 2, axis=-1)
        heatmaps = [heatmap]
        width, x = features.shape[-1], features
        for i in range(self.doublings):
            name = f"deconv_layers.{i}"
            x = jnp.concatenate([x, output.astype(x.dtype)], axis=-1)  # [B, h, w, C + 2K]
            x = TransposedConv(width, self.compute, name=f"{name}.0.0")(x)
            x = relu(layers.norm(name=f"{name}.0.1")(x))  # [B, 2h, 2w, C]
            for block in range(1, self.blocks + 1):
                x = BasicBlock(name=f"{name}.{block}.0")(x, layers)
            output = self._output(x, self.num_keypoints, i + 1)
            heatmaps.append(output)
        return TaggedHeatmaps(tuple(heatmaps), tags)

    def _output(self, features: jax.Array, channels: int, number: int) -> jax.Array:
        """A 1 x 1 convolution in float32."""
        features = at_least_float32(features)
        conv = nn.Conv(
            channels,
            (1, 1),
            dtype=features.dtype,
            kernel_init=initializers.normal(0.001),
            bias_init=initializers.zeros,
            conv_general_dilated=multiply,
            name=f"final_layers.{number}",
        )
        return conv(features)
