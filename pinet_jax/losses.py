"""What training minimises: the point, offset and refinement losses (section 3.3 of the paper).

Legend for shapes: B images, a map of R x R positions, K keypoints, S parts, N poses of a part.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from pinet_jax.networks.heads import Maps
from pinet_jax.targets import Targets

_SMOOTH_L1_BETA = 1 / 9  # map pixels; below it the loss is quadratic


class Proposals(NamedTuple):
    """Where refinement is trained.

    Attributes:
        yx: int32 [B, S, N, 2], positions on the map.
        mask: bool [B, S, N], the positions that count.
    """

    yx: jax.Array
    mask: jax.Array


def point_loss(maps: Maps, targets: Targets) -> jax.Array:
    """The weighted squared error of heatmap and part map, averaged over all entries of both."""
    heatmap = targets.heatmap_weight * (maps.heatmap - targets.heatmap) ** 2
    part_map = targets.part_map_weight * (maps.part_map - targets.part_map) ** 2
    entries = float(heatmap.size + part_map.size)  # of a pod's batch more than an int32 can hold
    return (heatmap.sum() + part_map.sum()) / entries


def offset_loss(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """The weighted smooth L1 distance, divided by the number of entries with a weight.

    Args:
        prediction: offsets [..., 2], map pixels.
        target: the same shape.
        weight: [...], of both coordinates; not negative.
    """
    smooth = optax.losses.huber_loss(prediction, target, delta=_SMOOTH_L1_BETA) / _SMOOTH_L1_BETA
    entries = jnp.maximum(2 * (weight > 0).sum(), 1).astype(weight.dtype)
    return (weight * smooth.sum(axis=-1)).sum() / entries


def sample_proposals(targets: Targets, count: int, batch_minimum: bool = False) -> Proposals:
    """The positions of every part that refinement is trained at.

    They are those with the largest product of part map and offset weight: around the centres of
    the smallest people first.

    Args:
        targets: of a batch.
        count: positions an image, shared among the parts.
        batch_minimum: the released code's rule: every image has as many poses of a part as the
            batch's poorest (or all of them, trained or not, where that has none).

    References:
        The paper's released code, for the order and the batch's minimum.
    """
    b, size, _, s = targets.part_map.shape
    weight = targets.offset_weight.max(axis=-1)
    priority = jnp.moveaxis(targets.part_map * weight, -1, 1).reshape(b, s, -1)  # [B, S, R * R]
    # Sorted, not top_k: that would be done for the images of all devices on every one of them.
    index = jnp.argsort(priority, axis=-1, descending=True)[..., : count // s]
    mask = jnp.take_along_axis(priority, index, axis=-1) > 0
    if batch_minimum:
        fewest = mask.sum(axis=-1).min(axis=0)  # [S]
        fewest = jnp.where(fewest == 0, mask.shape[-1], fewest)
        kept = jnp.arange(mask.shape[-1])[None, :] < fewest[:, None]
        mask = jnp.broadcast_to(kept[None], mask.shape)
    return Proposals(jnp.stack([index // size, index % size], axis=-1), mask)


def refinement_loss(
    delta: jax.Array, offset: jax.Array, targets: Targets, proposals: Proposals
) -> jax.Array:
    """The offset loss of refined offsets, at the proposals; no gradient flows into the offsets.

    Args:
        delta: [B, S * N, K, 2], from refinement, of `coarse_poses`.
        offset: [B, R, R, S, K, 2], the network's map.
        targets: of the batch.
        proposals: from `sample_proposals`.
    """
    coarse = jax.lax.stop_gradient(take_parts(offset, proposals.yx))
    target = take_parts(targets.offset, proposals.yx)
    weight = take_parts(targets.offset_weight, proposals.yx)
    weight = jnp.where(proposals.mask[..., None], weight, 0)
    return offset_loss(coarse + delta.reshape(coarse.shape), target, weight)


def coarse_poses(offset: jax.Array, proposals: Proposals) -> jax.Array:
    """The poses that the network's offsets give at the proposals; without gradient.

    Args:
        offset: [B, R, R, S, K, 2], the network's map.
        proposals: from `sample_proposals`.

    Returns:
        [B, S * N, K, 2], map pixels.
    """
    taken = jax.lax.stop_gradient(take_parts(offset, proposals.yx))
    b, s, n, k, _ = taken.shape
    positions = proposals.yx[..., None, ::-1].astype(taken.dtype)  # [B, S, N, 1, 2]
    return (positions - taken).reshape(b, s * n, k, 2)


def take_parts(maps: jax.Array, yx: jax.Array) -> jax.Array:
    """Each part's own entries of [B, R, R, S, ...] at [B, S, N, 2]: [B, S, N, ...]."""
    part = jnp.arange(yx.shape[1])[:, None]
    # Mapped, so that a batch on several devices is read where it lies.
    return jax.vmap(lambda image, at: image[at[..., 0], at[..., 1], part])(maps, yx)
