"""The one solid that everything is made of: a round cone, flattened, seen along the depth axis.

A round cone is what a ball sweeps that moves from `start` to `end` while its radius changes; with
`start == end` it is an ellipsoid. Coordinates are the camera's: x right, y down, z away, in pixels.

Legend for shapes: N solids, and any leading axes `...` of one function are the same.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

NOWHERE = -1e6  # a pixel coordinate outside of every picture


class Solids(NamedTuple):
    """Geometry of N flattened round cones.

    Attributes:
        start, end: float32 [N, 3], centres of the two balls.
        radius_start, radius_end: float32 [N], their radii across.
        frame: float32 [N, 3, 3], columns: the solid's own axes.
        depth_ratio: float32 [N], radius along the frame's third axis / radius across.
    """

    start: jax.Array
    end: jax.Array
    radius_start: jax.Array
    radius_end: jax.Array
    frame: jax.Array
    depth_ratio: jax.Array


class Paint(NamedTuple):
    """What N solids look like.

    A solid has `color` woven with `second_color` up to the fraction `split` of its length, and
    `rest_color` with `rest_alpha` from there on: a sleeve and an arm, a skirt and its hem.

    Attributes:
        color, second_color, rest_color: float32 [N, 3], RGB in 0..1.
        split: float32 [N].
        alpha, rest_alpha: float32 [N], 0..1; what is less than half opaque (a shadow) is drawn
            but hides nothing.
        stripes: float32 [N, 2], pattern periods a pixel along and across, 0 for none.
        soft: float32 [N], width of the edge in pixels, 1 where it is sharp.
        flat: float32 [N], 1 for a flat rectangle of half-width `radius_start`.
        gloss: float32 [N], how much light and shade it shows.
        rough: float32 [N], how strongly the image's texture shows on it.
        owner: int32 [N], person's index, or -1.
    """

    color: jax.Array
    second_color: jax.Array
    rest_color: jax.Array
    split: jax.Array
    alpha: jax.Array
    rest_alpha: jax.Array
    stripes: jax.Array
    soft: jax.Array
    flat: jax.Array
    gloss: jax.Array
    rough: jax.Array
    owner: jax.Array


class Footprints(NamedTuple):
    """Solids as a pixel loop wants them: constants of one ray per pixel, along z.

    In the space where a solid is round, u runs along its axis as the camera sees it, v across,
    and w away from the camera: u = to_uv[0] . (pixel - origin), and so on.

    Attributes:
        origin: [N, 3], the start ball's centre.
        to_uv: [N, 2, 2].
        axis: [N, 2], the axis's unit vector in u and w.
        length: [N].
        radius: [N, 2], at start and end.
        depth: [N, 3], z = depth[0] * w - depth[1] * dx - depth[2] * dy.
        sharpness: [N], pixels per unit of u and v.
        light: [N, 3], the light's direction in u, v, w.
        box: [N, 4], x0, y0, x1, y1 in pixels.
    """

    origin: jax.Array
    to_uv: jax.Array
    axis: jax.Array
    length: jax.Array
    radius: jax.Array
    depth: jax.Array
    sharpness: jax.Array
    light: jax.Array
    box: jax.Array


def bounding_boxes(solids: Solids) -> jax.Array:
    """The boxes x0, y0, x1, y1 of solids as the camera sees them, float32 [N, 4]."""
    stretch = jnp.stack(
        [jnp.ones_like(solids.depth_ratio)] * 2 + [solids.depth_ratio], axis=-1
    )  # [N, 3]
    extent = jnp.linalg.norm(solids.frame[..., :2, :] * stretch[..., None, :], axis=-1)  # [N, 2]
    a, b = solids.start[..., :2], solids.end[..., :2]
    ra = solids.radius_start[..., None] * extent
    rb = solids.radius_end[..., None] * extent
    low, high = jnp.minimum(a - ra, b - rb), jnp.maximum(a + ra, b + rb)
    return jnp.concatenate([low, high], axis=-1)


def project(solids: Solids, soft: jax.Array, light: jax.Array) -> Footprints:
    """Prepares solids for the pixel loop.

    Args:
        solids: N solids; those without a radius are absent.
        soft: float32 [N], width of their edges in pixels.
        light: float32 [3], unit vector towards the light.
    """
    footprint = jax.vmap(_project_one, in_axes=(0, None))(solids, light)
    margin = 0.5 * soft[:, None] * jnp.asarray([[-1.0, -1.0, 1.0, 1.0]], jnp.float32)
    box = jnp.where(solids.radius_start[:, None] > 0.0, bounding_boxes(solids) + margin, NOWHERE)
    return footprint._replace(box=box, sharpness=footprint.sharpness / soft)


def _project_one(solid: Solids, light: jax.Array) -> Footprints:
    squeeze = jnp.stack([jnp.ones_like(solid.depth_ratio)] * 2 + [1.0 / solid.depth_ratio])  # [3]
    to_round = squeeze[:, None] * solid.frame.T  # [3, 3]
    ray = to_round[:, 2]
    ray_length = jnp.linalg.norm(ray)
    w = ray / ray_length
    span = to_round @ (solid.end - solid.start)
    # The small extra vector gives a direction to balls and to solids that point at the camera.
    along = span - jnp.dot(span, w) * w + 1e-4 * jnp.roll(w, 1)
    u = along - jnp.dot(along, w) * w
    u = u / jnp.maximum(jnp.linalg.norm(u), 1e-12)
    v = jnp.cross(w, u)
    to_uv = jnp.stack([u, v]) @ to_round  # [2, 3]; its last column is zero
    slope = w @ to_round
    length = jnp.linalg.norm(span) + 1e-6
    flat_length = jnp.dot(span, u)
    return Footprints(
        origin=solid.start,
        to_uv=to_uv[:, :2],
        axis=jnp.stack([jnp.maximum(flat_length / length, 1e-4), jnp.dot(span, w) / length]),
        length=length,
        radius=jnp.stack([solid.radius_start, solid.radius_end]),
        depth=jnp.stack([jnp.ones_like(ray_length), slope[0], slope[1]]) / ray_length,
        sharpness=jnp.sqrt(1.0 / jnp.abs(jnp.linalg.det(to_uv[:, :2]))),
        light=jnp.stack([u, v, w]) @ (solid.frame.T @ light),
        box=jnp.zeros(4, jnp.float32),
    )
