"""What training minimises: the point, offset and refinement losses (section 3.3 of the paper).

Legend for shapes: B images, a map of R x R positions, K keypoints, S parts, N poses of a part.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp

from pinet_jax.models.pose_generation import Maps
from pinet_jax.models.refinement import take_positions
from pinet_jax.targets import SMALL_AREA, Targets

_SMOOTH_L1_BETA = 1 / 9  # map pixels; below it the loss is quadratic


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The factors of the losses and the poses that refinement is trained on; the paper's."""

    point_factor: float = 1.0
    offset_factor: float = 0.03
    refinement_factor: float = 0.03
    min_part_area: float = SMALL_AREA  # input pixels; smaller people have no part points
    proposals: int = 120  # poses an image that refinement is trained on, shared among the parts
    # The released code's rule: every image has as many poses of a part as the batch's poorest
    # (or all of them, trained or not, where that has none).
    batch_minimum: bool = False


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
    return (heatmap.sum() + part_map.sum()) / (heatmap.size + part_map.size)


def offset_loss(prediction: jax.Array, target: jax.Array, weight: jax.Array) -> jax.Array:
    """The weighted smooth L1 distance, divided by the number of entries with a weight.

    Args:
        prediction: offsets of any shape, map pixels.
        target: the same shape.
        weight: the same shape; not negative.
    """
    distance = jnp.abs(prediction - target)
    beta = _SMOOTH_L1_BETA
    smooth = jnp.where(distance < beta, 0.5 / beta * distance**2, distance - 0.5 * beta)
    count = jnp.maximum((weight > 0).sum(), 1).astype(weight.dtype)
    return (weight * smooth).sum() / count


def sample_proposals(targets: Targets, config: LossConfig) -> Proposals:
    """The positions of every part that refinement is trained at.

    They are those with the largest product of part map and offset weight: around the centres of
    the smallest people first.

    Args:
        targets: of a batch.
        config: how many.

    References:
        The paper's released code, for the order and the batch's minimum.
    """
    b, size, _, s = targets.part_map.shape
    weight = targets.offset_weight.reshape(b, size, size, s, -1).max(axis=-1)
    priority = jnp.moveaxis(targets.part_map * weight, -1, 1).reshape(b, s, -1)  # [B, S, R * R]
    # Sorted, not top_k: that would be done for the images of all devices on every one of them.
    index = jnp.argsort(priority, axis=-1, descending=True)[..., : config.proposals // s]
    mask = jnp.take_along_axis(priority, index, axis=-1) > 0
    if config.batch_minimum:
        count = mask.sum(axis=-1).min(axis=0)  # [S]
        count = jnp.where(count == 0, mask.shape[-1], count)
        kept = jnp.arange(mask.shape[-1])[None, :] < count[:, None]
        mask = jnp.broadcast_to(kept[None], mask.shape)
    return Proposals(jnp.stack([index // size, index % size], axis=-1), mask)


def refinement_loss(
    delta: jax.Array, maps: Maps, targets: Targets, proposals: Proposals
) -> jax.Array:
    """The offset loss of refined offsets, at the proposals; of the maps no gradient comes back.

    Args:
        delta: [B, S * N, K, 2], from refinement, of `coarse_poses`.
        maps: the network's.
        targets: of the batch.
        proposals: from `sample_proposals`.
    """
    offset = jax.lax.stop_gradient(take_offsets(maps.offset, proposals.yx))
    target = take_offsets(targets.offset, proposals.yx)
    weight = take_offsets(targets.offset_weight, proposals.yx)
    weight = jnp.where(proposals.mask[..., None], weight, 0)
    return offset_loss(offset + delta.reshape(offset.shape), target, weight)


def coarse_poses(maps: Maps, proposals: Proposals) -> jax.Array:
    """The poses that the network's offsets give at the proposals; without gradient.

    Returns:
        [B, S * N, K, 2], map pixels.
    """
    offset = jax.lax.stop_gradient(take_offsets(maps.offset, proposals.yx))
    b, s, n, _ = offset.shape
    positions = proposals.yx[..., None, ::-1].astype(offset.dtype)  # [B, S, N, 1, 2]
    return (positions - offset.reshape(b, s, n, -1, 2)).reshape(b, s * n, -1, 2)


def take_offsets(maps: jax.Array, yx: jax.Array) -> jax.Array:
    """Each part's own entries of [B, R, R, S * K * 2] at [B, S, N, 2]: [B, S, N, K * 2]."""
    b, _, _, channels = maps.shape
    s, n = yx.shape[1:3]
    values = take_positions(maps, yx.reshape(b, -1, 2))
    values = values.reshape(b, s, n, s, channels // s)
    return jnp.einsum("bsnsc->bsnc", values)
