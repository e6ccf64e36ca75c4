"""From maps to poses: peaks, offsets, the mirrored pass, keypoint scores.

Everything is in feature-map pixels, has a static shape, and carries a mask.

Legend for shapes: B images, a map of h x w positions, K keypoints, S parts, N peaks a part.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

PEAK_THRESHOLD = 0.01
PEAKS_PER_PART = 30
# The mirrored image is shifted left so that its stride-4 positions fall on the image's own.
MIRROR_SHIFT = 3


class Peaks(NamedTuple):
    """Where parts are.

    Attributes:
        yx: [B, S, N, 2], integer positions.
        scores: [B, S, N], the part map there.
        mask: [B, S, N] booleans, the peaks that count.
    """

    yx: jax.Array
    scores: jax.Array
    mask: jax.Array


def mirror_images(images: jax.Array, *, keep_last: bool = False) -> jax.Array:
    """The flip test's second input.

    Args:
        images: [B, H, W, 3], normalised.
        keep_last: what is behind: the mirrored image's own last columns, not zeros.

    Returns:
        The same shape: mirrored, moved left by 3 columns.
    """
    mirrored = images[:, :, ::-1]
    moved = mirrored[:, :, MIRROR_SHIFT:]
    if keep_last:
        return jnp.concatenate([moved, mirrored[:, :, -MIRROR_SHIFT:]], axis=2)
    return jnp.pad(moved, ((0, 0), (0, 0), (0, MIRROR_SHIFT), (0, 0)))


def mirror_poses(poses: jax.Array, width: int, permutation: Sequence[int]) -> jax.Array:
    """Poses [..., K, 2] of the mirrored map, in the coordinates of the map, and back."""
    swapped = jnp.take(poses, np.asarray(permutation), axis=-2)
    return jnp.stack([width - 1 - swapped[..., 0], swapped[..., 1]], axis=-1)


def find_peaks(part_map: jax.Array, count: int = PEAKS_PER_PART) -> Peaks:
    """The highest local maxima of every part.

    Args:
        part_map: [B, h, w, S].
        count: N, the most peaks a part.
    """
    b, h, w, s = part_map.shape
    window = _window((h + w) / 2)
    highest = nn.max_pool(part_map, (window, window), padding="SAME")
    peaks = jnp.where(part_map == highest, part_map, 0)
    flat = jnp.moveaxis(peaks, -1, 1).reshape(b, s, h * w)
    scores, index = jax.lax.top_k(flat, min(count, h * w))
    return Peaks(jnp.stack([index // w, index % w], axis=-1), scores, scores > PEAK_THRESHOLD)


def _window(mean_side: float) -> int:
    """The reference's pooling window: wider on large maps."""
    return 7 if mean_side > 300 else 5 if mean_side > 200 else 3


def comparable_scores(
    scores: Sequence[jax.Array],
    masks: Sequence[jax.Array],
    scales: Sequence[float],
    decrease: float,
) -> list[jax.Array]:
    """Pose scores; those of other scales are brought to scale 1's range, and a little below.

    Args:
        scores: of every scale, [B, N].
        masks: of every scale, the poses that count.
        scales: of the frames; 1 is among them.
        decrease: factor of all scores at other scales than 1.
    """

    def highest(scores: jax.Array, mask: jax.Array) -> jax.Array:  # [B, 1]
        found = jnp.where(mask, scores, -jnp.inf).max(axis=1, keepdims=True)
        return jnp.where(mask.any(axis=1, keepdims=True), found, 1)

    tops = [highest(*pair) for pair in zip(scores, masks, strict=True)]
    first = tops[scales.index(1.0)]
    return [
        own if scale == 1.0 else own / top * first * decrease
        for scale, own, top in zip(scales, scores, tops, strict=True)
    ]


def read_poses(offset: jax.Array, yx: jax.Array) -> jax.Array:
    """Coarse poses: position minus offset.

    Args:
        offset: [B, S, N, S, K, 2], all offsets at the positions of every part.
        yx: [B, S, N, 2], these positions, integers.

    Returns:
        [B, S, N, K, 2], x and y.
    """
    part = np.arange(offset.shape[1])
    own = offset[:, part, :, part]  # [S, B, N, K, 2]
    return yx[..., ::-1].astype(offset.dtype)[..., None, :] - jnp.moveaxis(own, 0, 1)


def read_heatmap(heatmap: jax.Array, points: jax.Array) -> jax.Array:
    """A keypoint's own map at the keypoint, as if the map were four times as large.

    The reference enlarges the map (bilinear, corners aligned, then edges repeated) and reads it
    bilinearly. The enlarged grid contains the map's own, so reading the map itself is the same;
    left of and above the first position the first cell goes on, right of and below the last
    position its value stays.

    Args:
        heatmap: [h, w, K].
        points: [..., K, 2], x and y in this map's pixels.

    Returns:
        [..., K].
    """
    h, w, k = heatmap.shape
    x, fx = _cell(points[..., 0], w)
    y, fy = _cell(points[..., 1], h)
    channel = np.broadcast_to(np.arange(k), x.shape)

    def at(dy: int, dx: int) -> jax.Array:
        return heatmap[y + dy, x + dx, channel]

    top = at(0, 0) * (1 - fx) + at(0, 1) * fx
    bottom = at(1, 0) * (1 - fx) + at(1, 1) * fx
    return top * (1 - fy) + bottom * fy


def _cell(position: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """The first of the two neighbours on an axis, and how far from it the position is."""
    limited = jnp.minimum(position, size - 1)
    first = jnp.clip(jnp.floor(limited), 0, max(size - 2, 0))
    return first.astype(jnp.int32), limited - first
