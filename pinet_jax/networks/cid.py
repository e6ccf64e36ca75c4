"""CID's network: a backbone, one map a keypoint for everybody, and heatmaps of each person alone.

There is no normalisation outside the backbone, and all that comes after it is float32.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions with C
channels, N people of an image, K keypoints, D channels that heatmaps of single people come from.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.backbones import Backbone
from pinet_jax.networks.layers import Compute, at_least_float32, multiply, relu
from pinet_jax.networks.materialization import materialized
from pinet_jax.networks.sampling import take_positions

_COORDINATE_SCALE = 32.0  # map positions; distances to a person's centre are divided by it
_LEAST = 1e-4  # probability

_kernel = initializers.normal(0.001)
# Keypoints are rare: all heatmaps begin at a probability of 0.01.
_rare = initializers.constant(-math.log(99))


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
    """Instance information abstraction (IIA): where there are keypoints and centres."""

    num_keypoints: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        """[B, h, w, C] -> logits [B, h, w, K + 1]."""
        return _pointwise(self.num_keypoints + 1, "keypoint_center_conv", _rare)(features)


class InstanceDecoupling(nn.Module):
    """Global feature decoupling (GFD): the features of one person, and its heatmaps.

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
        self.narrow = _pointwise(self.channels, "conv_down")
        self.channel_gate = _linear(self.channels, "c_attn.atn")
        self.likeness = _linear(self.channels, "s_attn.atn")
        self.spatial_gate = nn.Conv(
            1,
            (5, 5),
            conv_general_dilated=_tap_by_tap,
            kernel_init=_kernel,
            bias_init=initializers.zeros,
            name="s_attn.conv",
        )
        self.fuse = _pointwise(self.channels, "fuse_attn")
        self.heatmap = _pointwise(self.num_keypoints, "heatmap_conv", _rare)

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


def _pointwise(
    channels: int, name: str, bias: initializers.Initializer = initializers.zeros
) -> nn.Conv:
    return nn.Conv(
        channels,
        (1, 1),
        conv_general_dilated=multiply,
        kernel_init=_kernel,
        bias_init=bias,
        name=name,
    )


def _linear(channels: int, name: str) -> nn.Dense:
    return nn.Dense(channels, kernel_init=_kernel, bias_init=initializers.zeros, name=name)


def _tap_by_tap(x: jax.Array, kernel: jax.Array, *args: Any, **options: Any) -> jax.Array:
    """A convolution of few channels as a sum of shifted maps: one fused loop, which a CPU likes.

    Args:
        x: [B, h, w, C]; zero outside.
        kernel: [n, n, C, 1], n odd.
        *args: of `lax.conv_general_dilated`, as all others without a meaning here.
        **options: likewise.

    Returns:
        [B, h, w, 1].
    """
    del args, options
    _, h, w, _ = x.shape
    size, _, channels, _ = kernel.shape
    reach = size // 2
    wide = jnp.pad(jnp.moveaxis(x, -1, 0), ((0, 0), (0, 0), (reach, reach), (reach, reach)))
    wide = materialized(wide)  # [C, B, h + n - 1, w + n - 1]
    taps = [
        wide[c, :, i : i + h, j : j + w] * kernel[i, j, c, 0]
        for i, j, c in np.ndindex(size, size, channels)
    ]
    return materialized(functools.reduce(jnp.add, taps))[..., None]


class CIDNetwork(nn.Module):
    """The network; call it for features and maps, and `decouple` for single people's.

    Attributes:
        num_keypoints: K.
        channels: D.
        backbone_config: what makes the features.
        compute: how the backbone computes.
    """

    num_keypoints: int
    channels: int
    backbone_config: Backbone
    compute: Compute = Compute()

    def setup(self) -> None:
        """Makes the three modules."""
        self.backbone = self.backbone_config.module(self.compute)
        self.iia = KeypointsAndCenters(self.num_keypoints)
        self.gfd = InstanceDecoupling(self.num_keypoints, self.channels)

    def __call__(self, images: jax.Array) -> Outputs:
        """Features and maps of images [B, H, W, 3], normalised; H and W are multiples of 32."""
        features = at_least_float32(self.backbone(images))
        if self.is_initializing():
            self.decouple(features, jnp.zeros((len(images), 1, 2), jnp.int32))
        return Outputs(features, self.iia(features))

    def decouple(self, features: jax.Array, yx: jax.Array) -> jax.Array:
        """Logits of the people whose centres are at [B, N, 2], integer y and x.

        Returns:
            [B, N, h, w, K].
        """
        return self.gfd(self.gfd.narrowed(features), take_positions(features, yx), yx)

    def decoupler(self, features: jax.Array) -> Callable[[jax.Array, jax.Array], jax.Array]:
        """`decouple` as a function that loops may call; they may call no bound module.

        Args:
            features: [B, h, w, C].

        Returns:
            A function of people's vectors [B, N, C], the features at their centres, and of the
            centres [B, N, 2].
        """
        narrowed = self.gfd.narrowed(features)
        module, variables = self.gfd.unbind()

        def logits(vectors: jax.Array, yx: jax.Array) -> jax.Array:
            return cast(jax.Array, module.apply(variables, narrowed, vectors, yx))

        return logits
