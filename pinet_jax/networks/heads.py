"""Part-based pose generation, PPG (section 3.1 of the paper): three maps from the features.

Legend for shapes: B images, a map of h x w positions, K keypoints, S parts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.layers import at_least_float32, multiply


class Maps(NamedTuple):
    """What pose generation says of every position; all float32.

    Attributes:
        heatmap: [B, h, w, K], how likely a keypoint is there.
        part_map: [B, h, w, S], how likely a part's centre is there.
        offset: [B, h, w, S, K, 2], position minus keypoint in feature-map pixels, x and y.
    """

    heatmap: jax.Array
    part_map: jax.Array
    offset: jax.Array


class PoseGeneration(nn.Module):
    """The three heads, 1 x 1 convolutions.

    Attributes:
        num_keypoints: K.
        num_parts: S.
        joined: one product makes all maps, and reads the features once: where all are wanted, and
            traffic is what takes time.
    """

    num_keypoints: int
    num_parts: int
    joined: bool = False

    @nn.compact
    def __call__(self, features: jax.Array) -> Maps:
        """[B, h, w, C] -> the maps."""
        features = at_least_float32(features)  # offsets of hundreds of pixels need the mantissa
        channels = {
            "heatmap_head": self.num_keypoints,
            "detkptmap_head": self.num_parts,
            "offset_head": self.num_parts * self.num_keypoints * 2,
        }
        make = self._joined if self.joined else self._separate
        heatmap, part_map, offset = make(features, channels)
        offset = offset.reshape(*offset.shape[:-1], self.num_parts, self.num_keypoints, 2)
        return Maps(heatmap, part_map, offset)

    def _separate(self, features: jax.Array, channels: dict[str, int]) -> list[jax.Array]:
        def head(name: str) -> jax.Array:
            conv = nn.Conv(
                channels[name],
                (1, 1),
                dtype=features.dtype,
                kernel_init=initializers.normal(0.001),
                bias_init=initializers.zeros,
                conv_general_dilated=multiply,
                name=name,
            )
            return conv(features)

        return [head(name) for name in channels]

    def _joined(self, features: jax.Array, channels: dict[str, int]) -> list[jax.Array]:
        width = features.shape[-1]
        made = [_HeadParameters(n, name=name)(width) for name, n in channels.items()]
        kernel, bias = (jnp.concatenate(x, axis=-1) for x in zip(*made, strict=True))
        maps = multiply(features, kernel) + bias[None, None, None]
        return jnp.split(maps, np.cumsum(list(channels.values()))[:-1].tolist(), axis=-1)


class _HeadParameters(nn.Module):
    """Those of a 1 x 1 convolution, without the convolution."""

    channels: int

    @nn.compact
    def __call__(self, width: int) -> tuple[jax.Array, jax.Array]:
        """Kernel [1, 1, width, channels] and bias."""
        kernel = self.param("kernel", initializers.normal(0.001), (1, 1, width, self.channels))
        return kernel, self.param("bias", initializers.zeros, (self.channels,))
