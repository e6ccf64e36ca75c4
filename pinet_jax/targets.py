"""Training targets, rendered on the device: keypoints -> heatmaps, part maps, offset maps.

The host sends keypoints (a few kB an image) in place of maps (megabytes); people are padded, and a
padded row, having no labelled keypoint, paints nothing. What is painted is the reference's, except
where people overlap in the offset maps: there the person with the smaller area always wins.

Legend for shapes: P people, K keypoints, S parts, C channels, R the maps' side, W the side of the
window of offsets. Coordinates are feature-map pixels, x before y; maps are indexed y before x.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.skeletons import Partition

SMALL_AREA = 32.0**2  # frame pixels; smaller people have no part points on COCO and OCHuman

_SIGMA = 2.0  # of the heatmaps
_BACKGROUND_WEIGHT = 0.1


class Targets(NamedTuple):
    """What the network should answer for an image, and how much each entry counts.

    Attributes:
        heatmap: float32 [R, R, K], the keypoints.
        heatmap_weight: float32 [R, R, K].
        part_map: float32 [R, R, S], the part points.
        part_map_weight: float32 [R, R, S].
        offset: float32 [R, R, S, K, 2], x and y: position minus keypoint.
        offset_weight: float32 [R, R, S, K], of both; 0 where no offset is trained.
        part_points: float32 [P, S, 3] (x, y, v); v = 0 where a person lacks the part, else 2.
    """

    heatmap: jax.Array
    heatmap_weight: jax.Array
    part_map: jax.Array
    part_map_weight: jax.Array
    offset: jax.Array
    offset_weight: jax.Array
    part_points: jax.Array


def on_map(batch: Mapping[str, jax.Array], stride: int) -> jax.Array:
    """A batch's keypoints in pixels of a map: [B, P, K, 3] (x, y, v); see `points_on_map`."""
    points, visible = batch["keypoints"][..., :2], batch["keypoints"][..., 2:]
    return jnp.concatenate([points_on_map(points, batch, stride), visible], axis=-1)


def points_on_map(points: jax.Array, batch: Mapping[str, jax.Array], stride: int) -> jax.Array:
    """Points of a batch's frames in pixels of a map.

    Where the batch has "mirrored" frames, their points go where the released codes have them:
    these mirror on the map, position i to R - 1 - i, which is (stride - 1) / stride map pixels left
    of the mirrored point.

    Args:
        points: [B, P, M, 2], x and y in frame pixels.
        batch: see `methods.base.Method.losses`.
        stride: frame pixels a map pixel.
    """
    x, y = points[..., 0], points[..., 1]
    if "mirrored" in batch:
        shift = jnp.where(batch["mirrored"], stride - 1, 0).astype(x.dtype)
        x = x - shift[:, None, None]
    return jnp.stack([x / stride, y / stride], axis=-1)


def render_targets(
    keypoints: jax.Array,
    area: jax.Array,
    valid_mask: jax.Array,
    partition: Partition,
    *,
    min_part_area: float = SMALL_AREA,
    part_sigma: float = 2.0,
    offset_radius: int = 2,
) -> Targets:
    """The targets of one image; `jax.vmap` over the arrays makes them of a batch.

    Args:
        keypoints: float32 [P, K, 3] (x, y, v) in feature-map pixels; v = 0 is no label, also in
            rows of padding.
        area: float32 [P] of the people's boxes, in frame pixels; 0 in padding.
        valid_mask: [R, R], 1 where the maps can be trusted; it multiplies the weights of keypoint
            and part maps, not those of the offsets.
        partition: the parts, as `Skeleton.partition` gives them.
        min_part_area: people smaller than this have keypoints but no part points. CrowdPose has
            no such rule: 0.
        part_sigma: of the part maps' Gaussians.
        offset_radius: r; offsets are trained at c - r .. c + r - 1 around the part position c.

    References:
        Section 3.1 of the paper, and its released code.
    """
    parts = part_points(keypoints, area, partition, min_part_area)
    return render_maps(
        keypoints, area, valid_mask, parts, part_sigma=part_sigma, offset_radius=offset_radius
    )


def render_maps(
    keypoints: jax.Array,
    area: jax.Array,
    valid_mask: jax.Array,
    parts: jax.Array,
    *,
    part_sigma: float,
    offset_radius: int,
) -> Targets:
    """As `render_targets`, for given part points.

    Args:
        keypoints: as there.
        area: as there; it decides whose offsets win, and how much they count.
        valid_mask: as there.
        parts: [P, S, 3] (x, y, v), as `part_points` gives them.
        part_sigma: as there.
        offset_radius: as there.
    """
    size = valid_mask.shape[0]
    valid = valid_mask.astype(keypoints.dtype)[:, :, None]
    heatmap, heatmap_weight = _gaussian_maps(keypoints, size, _SIGMA)
    part_map, part_map_weight = _gaussian_maps(parts, size, part_sigma)
    offset, offset_weight = _offset_maps(keypoints, area, parts, size, offset_radius)
    return Targets(
        heatmap=heatmap,
        heatmap_weight=heatmap_weight * valid,
        part_map=part_map,
        part_map_weight=part_map_weight * valid,
        offset=offset,
        offset_weight=offset_weight,
        part_points=parts,
    )


def only_known_background(targets: Targets, background: jax.Array) -> Targets:
    """Targets whose background counts only where it is known that nobody is there.

    For sets with people without labels, or with labels of some keypoints alone.

    Args:
        targets: of a batch or of one image, [..., R, R, ...].
        background: bool [..., R, R, K + 1], for every keypoint, and last for all parts, where it is
            known to be absent.
    """
    keypoints, parts = background[..., :-1], background[..., -1:]
    return targets._replace(
        heatmap_weight=jnp.where((targets.heatmap > 0) | keypoints, targets.heatmap_weight, 0),
        part_map_weight=jnp.where((targets.part_map > 0) | parts, targets.part_map_weight, 0),
    )


def known_background(
    corners: jax.Array, labelled: jax.Array, partial: jax.Array, size: int
) -> jax.Array:
    """Where each keypoint, and last any part, of an image's people is known to be absent.

    It is not known, where labels are partial, for a person's unlabelled keypoints in this person's
    box. Parts are means of what is labelled, and always known.

    Args:
        corners: float32 [P, 4, 2] of the boxes, in pixels of the maps: top left, top right, bottom
            left, bottom right, before the frame was turned.
        labelled: bool [P, K].
        partial: bool [].
        size: R.

    Returns:
        bool [R, R, K + 1]; see `only_known_background`.
    """
    start = corners[:, 0]
    sides = corners[:, 1:3] - start[:, None]  # [P, 2, 2]: across and down, at right angles
    lengths = (sides**2).sum(axis=-1)
    x, y = jnp.meshgrid(jnp.arange(size), jnp.arange(size))
    at = jnp.stack([x, y], axis=-1).astype(corners.dtype)[:, :, None] - start[None, None]
    # [R, R, P, 2]: how far along both sides, in squared map pixels
    along = (at[..., None, :] * sides[None, None]).sum(axis=-1)
    inside = ((along >= 0) & (along < lengths[None, None])).all(axis=-1)  # [R, R, P]
    unlabelled = ~labelled & labelled.any(axis=-1, keepdims=True) & partial  # [P, K]
    counts = jnp.einsum("yxp,pk->yxk", inside.astype(jnp.float32), unlabelled.astype(jnp.float32))
    return jnp.pad(counts == 0, ((0, 0), (0, 0), (0, 1)), constant_values=True)


def part_points(
    keypoints: jax.Array, area: jax.Array, partition: Partition, min_part_area: float
) -> jax.Array:
    """The mean of each part's labelled keypoints, [P, S, 3]; see `render_targets`."""
    members = np.zeros((len(partition), keypoints.shape[1]), bool)  # [S, K]
    for row, part in zip(members, partition, strict=True):
        row[list(part.members)] = True
    counted = (keypoints[:, None, :, 2] > 0) & members[None]  # [P, S, K]
    count = counted.sum(axis=-1)
    total = jnp.where(counted[..., None], keypoints[:, None, :, :2], 0.0).sum(axis=2)
    exists = (count > 0) & (area >= min_part_area)[:, None]
    mean = total / jnp.maximum(count, 1).astype(total.dtype)[..., None]
    points = jnp.concatenate([mean, jnp.full_like(mean[..., :1], 2.0)], axis=-1)
    return jnp.where(exists[..., None], points, 0.0)


def keypoint_heatmaps(points: jax.Array, size: int) -> jax.Array:
    """The greatest of all people's Gaussians, [R, R, K].

    Args:
        points: [P, K, 3] (x, y, v) in map pixels; v = 0 is no label.
        size: R.
    """
    return _gaussian_maps(points, size, _SIGMA)[0]


def _gaussian_maps(points: jax.Array, size: int, sigma: float) -> tuple[jax.Array, jax.Array]:
    """Maps and weights [R, R, C] of points [P, C, 3]: the greatest of all people's Gaussians."""
    exists = (points[..., 2] > 0) & _inside(points, size)  # [P, C]
    x = jnp.where(exists[:, None, :], _bump(points[..., 0], size, sigma), 0.0)  # [P, R, C]
    y = _bump(points[..., 1], size, sigma)

    # One person after the other: all people's maps at once would fill the memory.
    def paint(canvas: jax.Array, person: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        x, y = person
        return jnp.maximum(canvas, y[:, None, :] * x[None, :, :]), None

    blank = jnp.zeros((size, size, points.shape[1]), points.dtype)
    maps, _ = jax.lax.scan(paint, blank, (x, y))
    # Inside a window a Gaussian is far from 0 (exp(-16) at sigma 2): a positive map tells windows.
    return maps, jnp.where(maps > 0, 1.0, _BACKGROUND_WEIGHT).astype(maps.dtype)


def _bump(centres: jax.Array, size: int, sigma: float) -> jax.Array:
    """Gaussians along one axis, zero outside their windows: [P, C] -> [P, R, C]."""
    positions = jnp.arange(size, dtype=centres.dtype)[None, :, None]
    centres = centres[:, None, :]
    start = jnp.floor(centres - 3 * sigma - 1)
    stop = jnp.ceil(centres + 3 * sigma + 2)
    value = jnp.exp(-((positions - centres) ** 2) / (2 * sigma**2))
    return jnp.where((positions >= start) & (positions < stop), value, 0.0)


def _offset_maps(
    keypoints: jax.Array, area: jax.Array, parts: jax.Array, size: int, radius: int
) -> tuple[jax.Array, jax.Array]:
    """Offsets [R, R, S, K, 2] and their weights [R, R, S, K]."""
    centres = parts[..., :2].astype(jnp.int32)  # [P, S, 2], cut toward zero as in the reference
    has_part = (parts[..., 2] > 0) & _inside(centres, size)
    trained = (keypoints[..., 2] > 0) & _inside(keypoints, size)  # [P, K]
    steps = jnp.arange(-radius, radius)
    rows, columns = jnp.meshgrid(steps, steps, indexing="ij")
    positions = centres[:, :, None, None, :] + jnp.stack([columns, rows], -1)[None, None]
    # [P, S, W, W, 2]
    wins = _wins(positions, centres, has_part, trained, area, radius)  # [P, S, W, W, K]

    offset = positions[..., None, :].astype(keypoints.dtype) - keypoints[:, None, None, None, :, :2]
    weight = jnp.where(area > 0, jax.lax.rsqrt(area), 0.0)[:, None, None, None, None]
    index = _map_index(positions, size)
    channels = (size, size, parts.shape[1], keypoints.shape[1])
    # An entry has one winner, all others add zero: the order of additions does not matter.
    offsets = (
        jnp.zeros((*channels, 2), offset.dtype)
        .at[index]
        .add(jnp.where(wins[..., None], offset, 0.0), mode="drop")
    )
    blank = jnp.zeros(channels, weight.dtype)
    return offsets, blank.at[index].add(jnp.where(wins, weight, 0.0), mode="drop")


def _wins(
    positions: jax.Array,
    centres: jax.Array,
    has_part: jax.Array,
    trained: jax.Array,
    area: jax.Array,
    radius: int,
) -> jax.Array:
    """Which entries [P, S, W, W, K] of the people's windows are theirs.

    An entry goes to the person with the smallest area among those who have a trained keypoint of
    its channel and whose window covers it; of two people with one area, to the first.
    """
    smaller = area[None, :] < area[:, None]  # [P, P]: is the other one smaller?
    earlier = jnp.tri(len(area), k=-1, dtype=bool)
    beaten_by = smaller | ((area[None, :] == area[:, None]) & earlier)
    step = positions[:, None] - centres[None, :, :, None, None, :]  # [P, P, S, W, W, 2]
    covered = ((step >= -radius) & (step < radius)).all(axis=-1)
    rivals = covered & (beaten_by[:, :, None] & has_part[None])[..., None, None]
    # Counts of people: exact in any precision.
    beaten = jnp.einsum("pqsyx,qk->psyxk", rivals.astype(jnp.float32), trained.astype(jnp.float32))
    claimed = has_part[:, :, None] & trained[:, None, :]  # [P, S, K]
    return claimed[:, :, None, None, :] & (beaten == 0)


def _map_index(positions: jax.Array, size: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """(y, x, part) of positions [P, S, W, W, 2]; beyond the map where they are outside of it."""
    # A negative index would count from the map's other end.
    positions = jnp.where(positions < 0, size, positions)
    parts = jnp.arange(positions.shape[1])[None, :, None, None]
    return positions[..., 1], positions[..., 0], jnp.broadcast_to(parts, positions.shape[:-1])


def _inside(points: jax.Array, size: int) -> jax.Array:
    """Whether points [..., 2 or more] lie on the map."""
    return ((points[..., :2] >= 0) & (points[..., :2] < size)).all(axis=-1)
