"""Training targets of people one by one: who is trained at which position, and on which heatmaps.

Gaussians are as wide as a person's box suggests (Law and Deng, CornerNet, ECCV 2018), and peak at
whole positions with exactly 1: a focal loss tells by that where keypoints are.

Legend for shapes: P people (padded), K keypoints, C channels, R the maps' side. Coordinates are
feature-map pixels, x before y; positions are y before x.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp


class Instances(NamedTuple):
    """People who are trained one by one; those who count come first.

    Attributes:
        person: int32 [P], which of the image's people it is.
        yx: int32 [P, 2], the position that stands for the person.
        mask: bool [P], False from the first place on that nobody has.
    """

    person: jax.Array
    yx: jax.Array
    mask: jax.Array


def gaussian_radius(corners: jax.Array, size: int) -> jax.Array:
    """How far a person's Gaussians reach, int32 [P].

    A box whose corners move by as much overlaps the true one by 0.7 or more. The sides' lengths
    are measured after the corners are moved into the map, and rounded up.

    Args:
        corners: [P, 4, 2] of the boxes: top left, top right, bottom left, bottom right, before
            any rotation.
        size: R.
    """
    left_top, right_top, left_bottom = (jnp.clip(corners[:, i], 0, size - 1) for i in range(3))
    height = _length_rounded_up(left_bottom - left_top)
    width = _length_rounded_up(right_top - left_top)

    # The greater root of 25 r^2 + 35 (h + w) r - 21 h w: CornerNet's smallest radius. (Its last
    # one, without the division by 2a: as everybody's code has it.) Where it is whole, floats
    # might miss it; integers do not.
    def fits(radius: jax.Array) -> jax.Array:
        return 25 * radius**2 + 35 * (height + width) * radius <= 21 * height * width

    h, w = height.astype(jnp.float32), width.astype(jnp.float32)
    root = (jnp.sqrt((1.4 * (h + w)) ** 2 + 3.36 * h * w) - 1.4 * (h + w)) / 2
    near = jnp.round(root).astype(jnp.int32)
    return jnp.where(fits(near), near, near - 1)


def _length_rounded_up(sides: jax.Array) -> jax.Array:
    return jnp.ceil(jnp.sqrt((sides**2).sum(axis=-1))).astype(jnp.int32)


def everybodys_heatmaps(points: jax.Array, radius: jax.Array, size: int) -> jax.Array:
    """[R, R, C], the greatest of all people's Gaussians; see `own_heatmaps`."""

    # One person after the other: all people's maps at once would fill the memory.
    def paint(canvas: jax.Array, person: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, None]:
        return jnp.maximum(canvas, own_heatmaps(*person, size)), None

    blank = jnp.zeros((size, size, points.shape[1]), points.dtype)
    return jax.lax.scan(paint, blank, (points, radius))[0]


def own_heatmaps(points: jax.Array, radius: jax.Array, size: int) -> jax.Array:
    """The Gaussians of one person.

    Args:
        points: [C, 3] (x, y, v); nothing is painted where v = 0 or the point is not on the map.
        radius: of the window, a scalar integer; the standard deviation is (2 radius + 1) / 6.
        size: R.

    Returns:
        [R, R, C].
    """
    peaks = points[:, :2].astype(jnp.int32)  # cut toward zero: (-0.5, 0) lies on the map
    exists = (points[:, 2] > 0) & ((peaks >= 0) & (peaks < size)).all(axis=-1)
    distance = jnp.arange(size, dtype=jnp.int32)[:, None, None] - peaks[None]  # [R, C, 2]
    deviation = (2 * radius + 1).astype(points.dtype) / 6
    bump = jnp.exp(-(distance.astype(points.dtype) ** 2) / (2 * deviation**2))
    bump = jnp.where((jnp.abs(distance) <= radius) & exists[None, :, None], bump, 0)
    return bump[:, None, :, 1] * bump[None, :, :, 0]


def choose_instances(
    centers: jax.Array, area: jax.Array, jitter: jax.Array, size: int
) -> Instances:
    """Those people of an image who are trained one by one, the smallest first.

    A person without a centre on the map is not among them. Where the positions of several people
    coincide, the smallest has it; of two of one size, the first.

    Args:
        centers: [P, 3] (x, y, v).
        area: [P], of the boxes.
        jitter: int32 [P, 2], x and y: where a position is moved to, to learn from its neighbours
            as well. It is not moved where it would leave the map.
        size: R.
    """
    centre = centers[:, :2].astype(jnp.int32)  # cut toward zero, as in `own_heatmaps`
    moved = centre + jitter
    stays = ~_inside(moved, size)
    xy = jnp.where(stays[:, None], centre, moved)
    exists = (centers[:, 2] > 0) & _inside(centre, size)

    index = jnp.arange(len(area))
    earlier = index[None, :] < index[:, None]  # [P, P]: is the other one earlier?
    smaller = (area[None, :] < area[:, None]) | ((area[None, :] == area[:, None]) & earlier)
    same_place = (xy[:, None] == xy[None, :]).all(axis=-1)
    counts = exists & ~(same_place & smaller & exists[None, :]).any(axis=1)

    order = jnp.argsort(jnp.where(counts, area, jnp.inf), stable=True)
    return Instances(order, xy[order, ::-1], counts[order])


def _inside(positions: jax.Array, size: int) -> jax.Array:
    """Whether positions [P, 2] are on the map."""
    return ((positions >= 0) & (positions < size)).all(axis=-1)
