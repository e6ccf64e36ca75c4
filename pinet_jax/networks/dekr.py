"""The network of DEKR: backbone, heatmaps, and one branch of offsets a keypoint.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions with C
channels, K keypoints, N positions of a map.

References:
    Geng et al., Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression, CVPR 2021,
    section 3, and its released code.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.adaptive_convolution import (
    AdaptiveBlock,
    Read,
    read_inside,
    read_maps,
)
from pinet_jax.networks.hrnet import BasicBlock, HRNetConfig
from pinet_jax.networks.layers import Compute, at_least_float32, make_layers, multiply, relu
from pinet_jax.networks.rescoring import Rescoring, RescoringConfig


class Outputs(NamedTuple):
    """Of the network on whole images; maps are float32.

    Attributes:
        features: [B, h, w, C], the backbone's.
        heatmap: [B, h, w, K + 1], how likely a keypoint is there; last, a person's centre.
        offset: [B, h, w, K, 2], position minus keypoint in map pixels, x and y, of the person
            whose centre is there.
    """

    features: jax.Array
    heatmap: jax.Array
    offset: jax.Array


class HeatmapHead(nn.Module):
    """A residual block on few channels, then all keypoints and the centre.

    Attributes:
        num_keypoints: K.
        width: channels of the block.
        compute: how it computes.
    """

    num_keypoints: int
    width: int
    compute: Compute

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, K + 1]."""
        layers = make_layers(self.compute)
        x = layers.conv(self.width, 1, name="transition_heatmap.0")(features)
        x = relu(layers.norm(name="transition_heatmap.1")(x))
        x = at_least_float32(BasicBlock(name="head_heatmap.0.0")(x, layers))
        conv = nn.Conv(
            self.num_keypoints + 1,
            (1, 1),
            dtype=x.dtype,
            kernel_init=initializers.normal(0.001),
            bias_init=initializers.zeros,
            conv_general_dilated=multiply,
            name="head_heatmap.1",
        )
        return conv(x)


class OffsetHead(nn.Module):
    """A branch a keypoint, each with channels of its own.

    The branches are groups of one network: their weights are side by side, keypoint by keypoint.

    Attributes:
        num_keypoints: K.
        channels: of a branch.
        blocks: adaptive blocks of a branch.
        compute: how it computes.
    """

    num_keypoints: int
    channels: int
    blocks: int
    compute: Compute

    @nn.compact
    def __call__(self, features: jax.Array, yx: jax.Array | None = None) -> jax.Array:
        """Offsets of whole maps, or at some positions alone.

        Args:
            features: [B, h, w, C].
            yx: int32 [B, N, 2], positions; then the network's normalisations must be folded.

        Returns:
            [B, h, w, K, 2] or [B, N, K, 2], x and y.
        """
        groups, layers = self.num_keypoints, make_layers(self.compute)
        x = layers.conv(groups * self.channels, 1, name="transition_offset.0")(features)
        x = relu(layers.norm(name="transition_offset.1")(x))  # [B, h, w, K * channels]
        blocks = [
            AdaptiveBlock(groups, self.channels, self.compute, name=f"offset_feature_layers.{i}")
            for i in range(self.blocks)
        ]
        if yx is None:
            for block in blocks:
                x = block(x)
            x = x.reshape(*x.shape[:3], groups, -1)
        else:
            grouped = jnp.moveaxis(x.reshape(*x.shape[:3], groups, -1), 3, 1)
            x = jnp.moveaxis(_read_blocks(blocks, grouped, yx), 1, 2)  # [B, N, K, channels]
        return BranchEnds(groups, name="offset_final_layer")(at_least_float32(x))


class BranchEnds(nn.Module):
    """The last layer of every branch.

    Attributes:
        num_keypoints: K.
    """

    num_keypoints: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., K, channels] -> [..., K, 2]."""
        shape = (1, 1, x.shape[-1], self.num_keypoints * 2)
        kernel = self.param("kernel", initializers.normal(0.001), shape)
        bias = self.param("bias", initializers.zeros, shape[3:])
        y = jnp.einsum("...kc,ckd->...kd", x, kernel.reshape(-1, self.num_keypoints, 2))
        return y + bias.reshape((1,) * (x.ndim - 2) + (-1, 2))

    def multiply_adds(self, x: jax.Array) -> int:
        """Two products a number."""
        return x.size * 2


def _read_blocks(blocks: list[AdaptiveBlock], x: jax.Array, yx: jax.Array) -> jax.Array:
    """The last block's values, made from those of the block before where its taps read, and so on.

    A position needs 9 neighbours and 9 taps between 4 positions each of the map before; with 30
    positions and two blocks that is less than a tenth of a map.

    Args:
        blocks: one after the other.
        x: [B, G, h, w, C], the first one's input.
        yx: int32 [B, N, 2].

    Returns:
        [B, G, N, C].
    """
    b, g, h, w, _ = x.shape
    read: Read = read_maps(x)
    for block in blocks:
        read = read_inside(functools.partial(block.at, read), (h, w))
    return read(jnp.broadcast_to(yx[:, None], (b, g, *yx.shape[1:])))


class DEKRNetwork(nn.Module):
    """Call it for maps; its `offset` takes positions, too, and its `rescoring` poses.

    Attributes:
        num_keypoints: K.
        backbone_config: what makes the features; the heatmaps' channels are its highest branch's.
        offset_channels: of a keypoint's branch.
        offset_blocks: adaptive blocks of a branch.
        rescoring_config: of the network that scores poses; None: there is none.
        compute: how it computes; maps are float32.
    """

    num_keypoints: int
    backbone_config: HRNetConfig
    offset_channels: int
    offset_blocks: int
    rescoring_config: RescoringConfig | None = None
    compute: Compute = Compute()

    def setup(self) -> None:
        """Makes the modules."""
        self.backbone = self.backbone_config.module(self.compute)
        self.heatmap = HeatmapHead(self.num_keypoints, self.backbone_config.width, self.compute)
        self.offset = OffsetHead(
            self.num_keypoints, self.offset_channels, self.offset_blocks, self.compute
        )
        if self.rescoring_config is not None:
            self.rescoring = Rescoring(self.rescoring_config)

    def __call__(self, images: jax.Array) -> Outputs:
        """Features and maps, at a quarter of the resolution.

        Args:
            images: [B, H, W, 3], normalised; H and W are multiples of 32.
        """
        features = self.backbone(images)
        if self.is_initializing() and self.rescoring_config is not None:
            self.rescoring(jnp.zeros((1, self.num_keypoints, 3)))
        return Outputs(features, self.heatmap(features), self.offset(features))
