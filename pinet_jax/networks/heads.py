"""Part-based pose generation, PPG (section 3.1 of the paper): three maps from the features.

Legend for shapes: B images, a map of h x w positions, K keypoints, S parts.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
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
    """The three heads, 1 x 1 convolutions."""

    num_keypoints: int
    num_parts: int

    @nn.compact
    def __call__(self, features: jax.Array) -> Maps:
        """[B, h, w, C] -> the maps."""
        features = at_least_float32(features)  # offsets of hundreds of pixels need the mantissa

        def head(channels: int, name: str) -> jax.Array:
            dtype = features.dtype
            conv = nn.Conv(
                channels,
                (1, 1),
                dtype=dtype,
                kernel_init=initializers.normal(0.001),
                bias_init=initializers.zeros,
                conv_general_dilated=multiply,
                name=name,
            )
            return conv(features)

        offset = head(self.num_parts * self.num_keypoints * 2, "offset_head")
        return Maps(
            heatmap=head(self.num_keypoints, "heatmap_head"),
            part_map=head(self.num_parts, "detkptmap_head"),
            offset=offset.reshape(*offset.shape[:-1], self.num_parts, self.num_keypoints, 2),
        )
