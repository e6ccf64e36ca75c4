"""Non-maximum suppression by keypoints: two poses are one person's if most keypoints coincide.

Legend for shapes: N poses, K keypoints.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from pinet_jax.poses import PoseSet


def suppress_coinciding(
    poses: PoseSet, heat: jax.Array, *, distance: float, keypoints: int, limit: int
) -> PoseSet:
    """Keeps one pose of every crowd of coinciding ones.

    In the poses' order, each that is left takes all that coincide with it. The one with the most
    heat is kept, and all are suppressed; if that one is suppressed already, nothing happens.

    Args:
        poses: N of them, one image's, in the order in which they are looked at.
        heat: [N], how sure the heatmaps are of each pose.
        distance: within which keypoints coincide, in diagonals of the taking pose's tight box.
        keypoints: more than so many coinciding ones make poses coincide.
        limit: the most poses that are kept.

    Returns:
        `limit` poses (or N, if that is less), in the order of keeping; if there were more, those
        with the most heat, by falling heat.

    References:
        The released code of DEKR. A pose without extent makes it fail; here such a pose takes
        itself alone.
    """
    coincide = _coincide(poses.keypoints[..., :2], distance, keypoints)
    takes = coincide & poses.mask[:, None] & poses.mask[None, :]
    order = _keeping_order(takes, jnp.where(poses.mask, heat, -jnp.inf), poses.mask)
    kept = order < poses.mask.size
    too_many = kept.sum() > limit
    key = jnp.where(too_many & kept, -heat, order.astype(heat.dtype))
    chosen = jnp.argsort(jnp.where(kept, key, jnp.inf), stable=True)[:limit]
    return jax.tree.map(lambda x: x[chosen], poses._replace(mask=kept))


def _coincide(points: jax.Array, distance: float, keypoints: int) -> jax.Array:
    """Whether a pose (first axis) would take another one: [N, K, 2] -> [N, N]."""
    extent = points.max(axis=1) - points.min(axis=1)
    diagonal = jnp.sqrt((extent**2).sum(axis=-1))  # [N]
    x, y = points[..., 0].T, points[..., 1].T  # [K, N]
    between = jnp.sqrt((x[:, :, None] - x[:, None]) ** 2 + (y[:, :, None] - y[:, None]) ** 2)
    close = (between < distance * diagonal[None, :, None]).sum(axis=0)
    return (close > keypoints) | jnp.eye(len(points), dtype=bool)


def _keeping_order(takes: jax.Array, heat: jax.Array, mask: jax.Array) -> jax.Array:
    """For every pose, how many were kept before it; N if it is not kept."""
    count = mask.size

    def look_at(
        state: tuple[jax.Array, jax.Array], pose: tuple[jax.Array, jax.Array]
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        left, order = state
        index, crowd = pose
        best = jnp.argmax(jnp.where(crowd, heat, -jnp.inf))
        keeps = left[index] & left[best]
        order = order.at[best].set(jnp.where(keeps, (order < count).sum(), order[best]))
        return (left & ~(keeps & crowd), order), None

    start = (mask, jnp.full_like(mask, count, jnp.int32))
    (_, order), _ = jax.lax.scan(look_at, start, (jnp.arange(count), takes))
    return order
