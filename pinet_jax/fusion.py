"""Pose fusion, PF (section 3.3 of the paper): the poses of one person become one.

Legend for shapes: N poses, K keypoints.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.poses import PoseSet

_TINY = 2.0**-52  # the reference's guard against poses without extent


class Grouping(NamedTuple):
    """Poses by falling score, and whom they follow.

    Attributes:
        poses: the set in its new order.
        leader: [N], for every pose the index of its group's best one; of itself if it leads.
        leads: [N] booleans, True for the best pose of a group.
    """

    poses: PoseSet
    leader: jax.Array
    leads: jax.Array


def tight_area(keypoints: jax.Array) -> jax.Array:
    """The area of the box around all keypoints: [..., K, 2 or more] -> [...]."""
    points = keypoints[..., :2]
    width, height = jnp.moveaxis(points.max(axis=-2) - points.min(axis=-2), -1, 0)
    return width * height


def object_keypoint_similarity(
    keypoints: jax.Array, sigmas: tuple[float, ...], area: jax.Array | None = None
) -> jax.Array:
    """OKS between all poses, with the mean area of the two poses.

    Args:
        keypoints: [N, K, 2 or more], x and y first, in any unit.
        sigmas: K constants, as in `Skeleton.sigmas`.
        area: [N], in that unit squared; of the poses' tight boxes if None.

    Returns:
        [N, N], in 0..1. The paper's equation 8.
    """
    points = jnp.moveaxis(keypoints[..., :2], 0, -1)  # [K, 2, N]
    if area is None:
        area = tight_area(keypoints)
    mean_area = (area[:, None] + area[None, :]) / 2 + _TINY  # [N, N]
    x, y = points[:, 0], points[:, 1]
    distance = (x[:, :, None] - x[:, None, :]) ** 2 + (y[:, :, None] - y[:, None, :]) ** 2
    spread = (2 * np.asarray(sigmas, np.float32)) ** 2
    return jnp.exp(-distance / (2 * mean_area[None] * spread[:, None, None])).mean(axis=0)


def by_score(poses: PoseSet, scores: jax.Array) -> PoseSet:
    """The poses with other scores [N], best first, padding last."""
    order = jnp.argsort(jnp.where(poses.mask, -scores, jnp.inf), stable=True)
    return jax.tree.map(lambda x: x[order], poses._replace(scores=scores))


def group_poses(
    poses: PoseSet, sigmas: tuple[float, ...], threshold: float | jax.Array = 0.7
) -> Grouping:
    """Finds the poses of one person, greedily.

    The best pose that belongs to no group yet opens one, and takes every remaining pose that is
    more similar to it than the threshold.

    Args:
        poses: N of them, one image's.
        sigmas: K constants.
        threshold: on the OKS.

    Returns:
        The poses sorted, and their groups; padding leads nothing and follows itself.
    """
    poses = by_score(poses, poses.scores)
    similar = object_keypoint_similarity(poses.keypoints, sigmas) > threshold
    index = jnp.arange(poses.mask.size)
    takes = similar & (index[:, None] < index[None, :])
    leads = find_leaders(takes, poses.mask)
    first = jnp.argmax(takes & leads[:, None], axis=0)
    return Grouping(poses, jnp.where(leads | ~poses.mask, index, first), leads)


def find_leaders(takes: jax.Array, mask: jax.Array) -> jax.Array:
    """Greedy suppression: who is left when every pose that is left takes the later ones it can.

    Args:
        takes: [N, N] booleans, whether a pose takes another one, if it is left itself; of poses by
            falling score, and so above the diagonal alone.
        mask: [N] booleans, False for padding, which takes nothing and is never left.

    Returns:
        [N] booleans.
    """

    # From "everybody is left", each round settles at least one more pose of every chain, so a few
    # rounds do what the reference does pose by pose.
    def round_(state: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        leads, _ = state
        return mask & ~(takes & leads[:, None]).any(axis=0), leads

    def unsettled(state: tuple[jax.Array, jax.Array]) -> jax.Array:
        return (state[0] != state[1]).any()

    leads, _ = jax.lax.while_loop(unsettled, round_, (mask, jnp.zeros_like(mask)))
    return leads


def fuse_groups(grouping: Grouping) -> PoseSet:
    """Keeps, for every group and keypoint, the member that is surest of it.

    Returns:
        One pose a group, at its leader's place; its score is the mean of its keypoint scores. Ties
        go to the leader, then to the better pose.
        Columns of a keypoint behind its score go along with it.
    """
    keypoints, leader = grouping.poses.keypoints, grouping.leader
    count = leader.size
    scores = keypoints[..., 2]  # [N, K]
    best = jax.ops.segment_max(scores, leader, count)
    index = jnp.broadcast_to(jnp.arange(count)[:, None], scores.shape)
    ties = jnp.where(scores == best[leader], index, count)
    member = jax.ops.segment_min(ties, leader, count)  # [N, K]
    chosen = jnp.minimum(member, count - 1)[..., None]  # a place that leads nothing has no member
    fused = jnp.take_along_axis(keypoints, chosen, axis=0)
    return PoseSet(fused, fused[..., 2].mean(axis=-1), grouping.leads)


def leaders(grouping: Grouping) -> PoseSet:
    """The best pose of every group as it is: suppression without fusion."""
    return grouping.poses._replace(mask=grouping.leads)
