"""From single people's heatmaps to poses.

Legend for shapes: a map of h x w positions, K keypoints; leading axes are any.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn


def smoothed(maps: jax.Array, side: int) -> jax.Array:
    """The mean of maps [B, h, w, C] and of their averages over windows; zero beyond the border.

    Args:
        maps: [B, h, w, C].
        side: of the windows, odd.
    """
    total = maps
    for window in ((side, 1), (1, side)):  # a sum over rows of sums over columns
        total = nn.pool(total, 0.0, jax.lax.add, window, (1, 1), "SAME")
    return (maps + total / side**2) / 2


def read_keypoints(heatmaps: jax.Array) -> jax.Array:
    """Every keypoint's best position, moved by a quarter of one towards the better neighbour.

    Args:
        heatmaps: [B, h, w, K].

    Returns:
        [B, K, 3], x and y in map pixels, and the heatmap there. The first of equal positions, row
        by row; on the border it is not moved off it or along its normal.
    """
    b, h, w, k = heatmaps.shape
    flat = heatmaps.reshape(b, h * w, k)
    best = flat.argmax(axis=1)  # [B, K]
    y, x = best // w, best % w

    def at(y: jax.Array, x: jax.Array) -> jax.Array:
        place = jnp.clip(y, 0, h - 1) * w + jnp.clip(x, 0, w - 1)
        return jnp.take_along_axis(flat, place[:, None], axis=1)[:, 0]

    def moved(place: jax.Array, size: int, slope: jax.Array) -> jax.Array:
        within = (place > 0) & (place < size - 1)
        return place.astype(flat.dtype) + jnp.where(within, 0.25 * jnp.sign(slope), 0)

    right = moved(x, w, at(y, x + 1) - at(y, x - 1))
    down = moved(y, h, at(y + 1, x) - at(y - 1, x))
    return jnp.stack([right, down, at(y, x)], axis=-1)
