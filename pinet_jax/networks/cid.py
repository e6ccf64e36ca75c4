"""CID's network: a backbone, one map a keypoint for everybody, and heatmaps of each person alone.

Wang and Zhang, Contextual Instance Decoupling for Robust Multi-Person Pose Estimation, CVPR 2022.
There is no normalisation outside the backbone, and all that comes after it is float32.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions with C
channels, N people of an image, K keypoints, D channels that heatmaps of single people come from.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig, HRNetConfig
from pinet_jax.models.hrnet import HRNet
from pinet_jax.models.layers import at_least_float32, convolve, multiply, relu
from pinet_jax.models.refinement import take_positions

_COORDINATE_SCALE = 32.0  # map positions; distances to a person's centre are divided by it
_LEAST = 1e-4  # probability

_conv = partial(nn.Conv, conv_general_dilated=multiply, kernel_init=nn.initializers.normal(0.001))
_dense = partial(nn.Dense, kernel_init=nn.initializers.normal(0.001))
# Keypoints are rare: all maps begin at a probability of 0.01.
_rare = nn.initializers.constant(-math.log(99))


class Outputs(NamedTuple):
    """Of the network on whole images.

    Attributes:
        features: [B, h, w, C], the backbone's.
        logits: [B, h, w, K + 1], of everybody's keypoints and, last, everybody's centres.
    """

    features: jax.Array
    logits: jax.Array


def probability(logits: jax.Array) -> jax.Array:
    """What maps say, kept from 0 and 1: logarithms follow."""
    return jnp.clip(nn.sigmoid(logits), _LEAST, 1 - _LEAST)


class KeypointsAndCenters(nn.Module):
    """Instance information abstraction (section 3.2): where there are keypoints and centres."""

    num_keypoints: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[B, h, w, C] -> logits [B, h, w, K + 1]."""
        name, dtype = "keypoint_center_conv", features.dtype
        conv = _conv(self.num_keypoints + 1, (1, 1), dtype=dtype, bias_init=_rare, name=name)
        return conv(features)


class InstanceDecoupling(nn.Module):
    """Global feature decoupling (section 3.3): the features of one person, and its heatmaps.

    The features, made narrow, are weighted once for every person: by channel, and by place. Both
    weights come from the features at the person's centre.

    Attributes:
        num_keypoints: K.
        channels: D.
    """

    num_keypoints: int
    channels: int

    def setup(self) -> None:
        """Names the layers as the released code does."""
        width = self.channels
        self.narrow = _conv(width, (1, 1), name="conv_down")
        self.channel_gate = _dense(width, name="c_attn.atn")
        self.likeness = _dense(width, name="s_attn.atn")
        self.spatial_gate = nn.Conv(
            1,
            (5, 5),
            padding=2,
            conv_general_dilated=convolve,
            kernel_init=nn.initializers.normal(0.001),
            name="s_attn.conv",
        )
        self.fuse = _conv(width, (1, 1), name="fuse_attn")
        self.heatmap = _conv(self.num_keypoints, (1, 1), bias_init=_rare, name="heatmap_conv")

    def narrowed(self, features: jax.Array) -> jax.Array:
        """The features that people's own are made of: [B, h, w, C] -> [B, h, w, D]."""
        return self.narrow(features)

    def __call__(self, narrowed: jax.Array, vectors: jax.Array, yx: jax.Array) -> jax.Array:
        """Logits of each person's own keypoints.

        Args:
            narrowed: [B, h, w, D].
            vectors: [B, N, C], the features at the people's centres.
            yx: [B, N, 2], the centres, integers.

        Returns:
            [B, N, h, w, K].
        """
        b, n, _ = vectors.shape
        own = narrowed[:, None]  # [B, 1, h, w, D]
        by_channel = own * self.channel_gate(vectors)[:, :, None, None]  # [B, N, h, w, D]
        by_place = own * self._spatial_gate(narrowed, vectors, yx)
        both = jnp.concatenate([by_channel, by_place], axis=-1)
        heatmaps = self.heatmap(relu(self.fuse(both.reshape(b * n, *both.shape[2:]))))
        return heatmaps.reshape(b, n, *heatmaps.shape[1:])

    def _spatial_gate(self, narrowed: jax.Array, vectors: jax.Array, yx: jax.Array) -> jax.Array:
        """[B, N, h, w, 1] in 0..1: by likeness to the centre's features, and by the way there."""
        _, h, w, _ = narrowed.shape
        b, n, _ = vectors.shape
        like = jnp.einsum("bhwd,bnd->bnhw", narrowed, self.likeness(vectors))
        rows, columns = jnp.meshgrid(jnp.arange(h), jnp.arange(w), indexing="ij")
        right = yx[:, :, 1, None, None] - columns[None, None]  # [B, N, h, w]
        down = yx[:, :, 0, None, None] - rows[None, None]
        way = jnp.stack([right, down], axis=-1).astype(like.dtype) / _COORDINATE_SCALE
        maps = jnp.concatenate([like[..., None], way], axis=-1)  # [B, N, h, w, 3]
        gate = nn.sigmoid(self.spatial_gate(maps.reshape(b * n, h, w, 3)))
        return gate.reshape(b, n, h, w, 1)


class CIDNetwork(nn.Module):
    """The network; call it for features and maps, and `decouple` for single people's.

    Attributes:
        num_keypoints: K.
        channels: D.
        config: of the backbone.
        folded: whether the normalisations are folded into the convolutions (inference only).
        dtype: of the backbone's computation.
        batch_norm: how statistics are taken in training.
        remat: compute the backbone's inner results again for the gradient, to save memory.
    """

    num_keypoints: int
    channels: int
    config: HRNetConfig
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False

    def setup(self) -> None:
        """Makes the three modules."""
        self.backbone = HRNet(
            self.config,
            folded=self.folded,
            dtype=self.dtype,
            batch_norm=self.batch_norm,
            remat=self.remat,
        )
        self.iia = KeypointsAndCenters(self.num_keypoints)
        self.gfd = InstanceDecoupling(self.num_keypoints, self.channels)

    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Features and maps.

        Args:
            images: [B, H, W, 3], normalised; H and W are multiples of 32.
            train: whether batch statistics are used and updated.
        """
        features = at_least_float32(self.backbone(images, train))
        return Outputs(features, self.iia(features))

    def decouple(self, features: jax.Array, yx: jax.Array) -> jax.Array:
        """Logits of the people whose centres are at [B, N, 2], integer y and x.

        Returns:
            [B, N, h, w, K].
        """
        return self.gfd(self.gfd.narrowed(features), take_positions(features, yx), yx)

    def everything(self, images: jax.Array) -> jax.Array:
        """Calls every layer once, so that initialisation makes all parameters."""
        features, _ = self(images)
        return self.decouple(features, jnp.zeros((len(images), 1, 2), jnp.int32))
