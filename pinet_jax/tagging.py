"""Associative embedding in training: what heatmaps and tags should be, and how far they are.

Tags have no target of their own. Those of one person's keypoints are pulled to their mean, and the
means of two people are pushed apart.

Legend for shapes: B images, P people (padded), K keypoints, maps of R x R positions. Coordinates
are map pixels.

References:
    Newell et al., Associative embedding, NeurIPS 2017, and HigherHRNet's released code.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.targets import keypoint_heatmaps


class Positions(NamedTuple):
    """Where keypoints are on a map.

    Attributes:
        yx: int32 [P, K, 2].
        mask: bool [P, K], those that are labelled and on the map.
    """

    yx: jax.Array
    mask: jax.Array


def positions_on_map(keypoints: jax.Array, size: int) -> Positions:
    """The positions of keypoints [P, K, 3] (x, y, v), cut toward zero as in the released code."""
    yx = keypoints[..., 1::-1].astype(jnp.int32)
    inside = ((yx >= 0) & (yx < size)).all(axis=-1)
    return Positions(yx, inside & (keypoints[..., 2] > 0))


def render_heatmaps(keypoints: jax.Array, size: int) -> jax.Array:
    """The greatest of Gaussians at the positions of keypoints [P, K, 3]: [R, R, K]."""
    positions = positions_on_map(keypoints, size)
    label = positions.mask[..., None].astype(jnp.int32)
    points = jnp.concatenate([positions.yx[..., ::-1], label], axis=-1)
    return keypoint_heatmaps(points.astype(keypoints.dtype), size)


def heatmap_loss(heatmap: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """The squared error, averaged over all entries, also those that are left out.

    Args:
        heatmap: [B, R, R, K].
        target: [B, R, R, K].
        mask: [B, R, R], 0 where the map is not to be trusted.
    """
    return (mask.astype(heatmap.dtype)[..., None] * (heatmap - target) ** 2).mean()


def tag_losses(tags: jax.Array, keypoints: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How alike people are, and how unlike the keypoints of one person; of one image.

    Args:
        tags: [R, R, K].
        keypoints: [P, K, 3] (x, y, v), map pixels; v = 0 is no label, also in rows of padding.

    Returns:
        push: half the mean of exp(-distance^2) over all ordered pairs of two people; 0 without any.
        pull: the mean over people of the variance of their keypoints' tags.
    """
    yx, mask = positions_on_map(keypoints, tags.shape[0])
    y, x = jnp.where(mask, yx[..., 0], 0), jnp.where(mask, yx[..., 1], 0)
    read = tags[y, x, np.broadcast_to(np.arange(tags.shape[2]), mask.shape)]  # [P, K]
    weight = mask.astype(tags.dtype)
    labelled = jnp.maximum(weight.sum(axis=1), 1)
    mean = (weight * read).sum(axis=1) / labelled  # [P]
    exists = mask.any(axis=1)
    people = exists.sum(dtype=jnp.int32).astype(tags.dtype)

    variance = (weight * (read - mean[:, None]) ** 2).sum(axis=1) / labelled
    pull = variance.sum() / jnp.maximum(people, 1)
    pair = exists[:, None] & exists[None, :] & ~np.eye(len(mean), dtype=bool)
    alike = jnp.where(pair, jnp.exp(-((mean[:, None] - mean[None, :]) ** 2)), 0)
    push = 0.5 * alike.sum() / jnp.maximum(people * (people - 1), 1)
    return push, pull
