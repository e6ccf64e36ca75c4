"""Heatmaps of one person in a crop: rendered as targets, compared with them, and read.

Legend for shapes: B crops, P people of a crop (one), K keypoints, maps of h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STRIDE = 4  # crop pixels a cell
_REACH = 3  # of a Gaussian's window, in sigmas


class HeatmapTargets(NamedTuple):
    """What the network should answer.

    Attributes:
        heatmap: [B, h, w, K].
        weight: [B, K], 1 where a keypoint is trained, else 0.
    """

    heatmap: jax.Array
    weight: jax.Array


def render_heatmaps(
    keypoints: jax.Array, shape: tuple[int, int], sigma: float = 2.0
) -> HeatmapTargets:
    """A Gaussian of height 1 in the cell of every labelled keypoint.

    Args:
        keypoints: [B, K, 3] (x, y, v), crop pixels.
        shape: h and w.
        sigma: cells.

    References:
        The released code of SimpleBaseline: the cell is that of the rounded position; a keypoint
        beyond the map is trained as long as its window touches the map, and one cell longer on the
        map's left and upper side.
    """
    height, width = shape
    # Cut toward zero, not floored: what lies a little outside belongs to the first cell.
    cell = jnp.trunc(keypoints[..., :2] / STRIDE + 0.5)  # [B, K, 2]
    reach = _REACH * sigma
    size = jnp.array([width, height], cell.dtype).reshape(1, 1, 2)
    touches = ((cell - reach < size) & (cell + reach + 1 >= 0)).all(axis=-1)
    weight = ((keypoints[..., 2] > 0) & touches).astype(cell.dtype)
    x = _gaussian(cell[..., 0], width, sigma, reach)  # [B, w, K]
    y = _gaussian(cell[..., 1], height, sigma, reach)
    heatmap = y[:, :, None, :] * x[:, None, :, :]
    return HeatmapTargets(weight[:, None, None, :] * heatmap, weight)


def _gaussian(center: jax.Array, size: int, sigma: float, reach: float) -> jax.Array:
    """Gaussians along one axis, zero outside their windows: [B, K] -> [B, size, K]."""
    distance = jnp.arange(size, dtype=center.dtype)[None, :, None] - center[:, None, :]
    value = jnp.exp(-(distance**2) / (2 * sigma**2))
    return jnp.where(jnp.abs(distance) <= reach, value, 0)


def heatmap_loss(heatmap: jax.Array, targets: HeatmapTargets) -> jax.Array:
    """Half the squared error, averaged over all cells, those of untrained keypoints included."""
    difference = targets.weight[:, None, None, :] * (heatmap - targets.heatmap)
    return 0.5 * (difference**2).mean()


def average_mirrored(
    heatmap: jax.Array, mirrored: jax.Array, permutation: Sequence[int]
) -> jax.Array:
    """The mean of a crop's heatmaps and those of the mirrored crop.

    Args:
        heatmap: [B, h, w, K].
        mirrored: the network's answer to the mirrored crop.
        permutation: `Skeleton.mirror_permutation`.

    References:
        The released code, SHIFT_HEATMAP: a cell stands for the first of its 4 pixels, so that the
        mirrored cells lie 3/4 of a cell beside; they are moved by a whole one.
    """
    back = mirrored[:, :, ::-1][..., np.asarray(permutation)]
    moved = jnp.concatenate([back[:, :, :1], back[:, :, :-1]], axis=2)
    return (heatmap + moved) / 2


def read_keypoints(heatmap: jax.Array) -> jax.Array:
    """The keypoints' positions and scores.

    The highest cell, the first of equal ones, and from there a quarter of a cell towards the
    higher neighbour on each axis. No shift at the map's border, where a cell has no two
    neighbours, nor, as in the released code, one cell inside of it on the left and upper side.
    A map without a positive cell gives position 0.

    Args:
        heatmap: [B, h, w, K].

    Returns:
        [B, K, 3], x and y in crop pixels, and score: the cell's value.
    """
    b, h, w, k = heatmap.shape
    index = jnp.argmax(heatmap.reshape(b, h * w, k), axis=1)  # [B, K]
    y, x = index // w, index % w
    image, channel = jnp.arange(b)[:, None], np.arange(k)[None, :]

    def value(dy: int, dx: int) -> jax.Array:
        rows, columns = jnp.clip(y + dy, 0, h - 1), jnp.clip(x + dx, 0, w - 1)
        return heatmap[image, rows, columns, channel]

    slope = jnp.stack([value(0, 1) - value(0, -1), value(1, 0) - value(-1, 0)], axis=-1)
    inside = (x > 1) & (x < w - 1) & (y > 1) & (y < h - 1)
    shift = jnp.where(inside[..., None], jnp.sign(slope) / 4, 0)
    score = value(0, 0)[..., None]
    cell = jnp.stack([x, y], axis=-1).astype(heatmap.dtype) + shift
    return jnp.concatenate([jnp.where(score > 0, cell, 0) * STRIDE, score], axis=-1)
