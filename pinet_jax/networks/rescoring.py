"""The network that learns from a pose's shape and keypoint scores how good it is.

Legend for shapes: N poses, K keypoints, L links.

References:
    Geng et al., Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression, CVPR 2021,
    and its released code.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton


@dataclasses.dataclass(frozen=True)
class RescoringConfig:
    """What the network reads of a pose, and its width."""

    links: tuple[tuple[int, int], ...]  # pairs of keypoints
    reference_links: tuple[int, ...]  # whose mean length is the unit of all lengths
    width: int = 256  # of both hidden layers


COCO_RESCORING = RescoringConfig(
    links=((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 6), (5, 7), (5, 11),
           (6, 8), (6, 12), (7, 9), (8, 10), (11, 12), (11, 13), (12, 14), (13, 15), (14, 16)),
    reference_links=(9, 11),  # the sides of the torso
)  # fmt: skip

CROWDPOSE_RESCORING = RescoringConfig(
    links=((12, 13), (13, 0), (13, 1), (0, 2), (1, 3), (2, 4), (3, 5), (0, 6), (1, 7), (6, 8),
           (7, 9), (8, 10), (9, 11), (6, 7), (0, 1)),
    reference_links=(9, 11),  # the released code's: left thigh and shin
)  # fmt: skip


def rescoring_of(skeleton: Skeleton) -> RescoringConfig:
    """What it reads of a keypoint set: as published, or else the limbs, by their mean length."""
    published = {COCO_17.keypoints: COCO_RESCORING, CROWDPOSE_14.keypoints: CROWDPOSE_RESCORING}
    own = RescoringConfig(skeleton.edges, tuple(range(len(skeleton.edges))))
    return published.get(skeleton.keypoints, own)


def pose_features(keypoints: jax.Array, config: RescoringConfig) -> jax.Array:
    """What the network reads: links as vectors, their lengths, the keypoints' scores.

    Args:
        keypoints: [..., K, 3], x and y in image pixels, and score.
        config: the links.

    Returns:
        [..., 3 * L + K].
    """
    first, second = np.array(config.links).T
    points = keypoints[..., :2]
    vectors = points[..., first, :] - points[..., second, :]  # [..., L, 2]
    lengths = jnp.sqrt((vectors**2).sum(axis=-1))  # [..., L]
    unit = lengths[..., np.array(config.reference_links)].mean(axis=-1, keepdims=True)
    unit = jnp.maximum(unit, 1)
    flat = vectors.reshape(*vectors.shape[:-2], -1)
    return jnp.concatenate([flat / unit, lengths / unit, keypoints[..., 2]], axis=-1)


class Rescoring(nn.Module):
    """Three dense layers; called with poses, it gives factors of their scores."""

    config: RescoringConfig

    @nn.compact
    def __call__(self, keypoints: jax.Array) -> jax.Array:
        """[..., K, 3], as in `pose_features` -> [...]."""
        x = pose_features(keypoints, self.config)
        for name in ("l1", "l2"):
            x = nn.relu(_dense(self.config.width, x, name))
        return _dense(1, x, "l3")[..., 0]


def _dense(width: int, x: jax.Array, name: str) -> jax.Array:
    layer = nn.Dense(
        width,
        dtype=x.dtype,
        kernel_init=initializers.uniform(math.sqrt(3 / x.shape[-1])),
        bias_init=initializers.zeros,
        name=name,
    )
    return layer(x)
