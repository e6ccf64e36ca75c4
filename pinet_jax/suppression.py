"""From boxes' poses to people: rescored, and one pose a person kept, by OKS-NMS.

Legend for shapes: N poses of an image (padded), K keypoints.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pinet_jax.fusion import find_leaders, object_keypoint_similarity
from pinet_jax.poses import PoseSet

_SURE_SCORE = 0.2  # only keypoints with a higher score count in their person's


def rescore(keypoint_scores: jax.Array) -> jax.Array:
    """A pose's score: the mean of its sure keypoints'. The person's is this times the box's.

    Args:
        keypoint_scores: [..., K].

    Returns:
        [...]; 0 where no keypoint is sure.

    References:
        The released code of SimpleBaseline, IN_VIS_THRE.
    """
    sure = keypoint_scores > _SURE_SCORE
    total = jnp.where(sure, keypoint_scores, 0).sum(axis=-1)
    return total / jnp.maximum(sure.sum(axis=-1), 1).astype(total.dtype)


def suppress_by_oks(
    poses: PoseSet, area: jax.Array, sigmas: tuple[float, ...], threshold: float = 0.9
) -> PoseSet:
    """Keeps the best pose of every person, greedily.

    The best pose is kept, and all that are more similar to it than the threshold are dropped; then
    the best of those that remain, and so on.

    Args:
        poses: N of them, one image's, in image pixels.
        area: [N], of what each pose was found in, pixels.
        sigmas: K constants.
        threshold: on the OKS.

    Returns:
        The poses by falling score, of equal ones the later first; the mask has those that are kept.

    References:
        The released code of SimpleBaseline, `oks_nms`; it takes the enlarged crops' areas.
    """
    order = jnp.argsort(jnp.where(poses.mask, poses.scores, -jnp.inf), stable=True)[::-1]
    poses = jax.tree.map(lambda x: x[order], poses)
    similar = object_keypoint_similarity(poses.keypoints, sigmas, area[order]) > threshold
    index = jnp.arange(poses.mask.size)
    takes = similar & (index[:, None] < index[None, :])
    return poses._replace(mask=find_leaders(takes, poses.mask))
