"""Solids -> picture, depth and who is where, tile by tile.

Solids are drawn from far to near over the background; every tile of the picture walks only through
the solids that touch it. A depth buffer settles what intersects, so that limbs join smoothly.

Legend for shapes: N solids, H, W the picture, T the side of a tile.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.primitives import Footprints, Paint

TILE = 16
FAR = 1e6
NOBODY = -1


class Canvas(NamedTuple):
    """A picture and its buffers.

    Attributes:
        color: float32 [3, H, W], RGB.
        depth: float32 [H, W], of the foremost opaque surface.
        owner: int32 [H, W], the person seen at a pixel, or NOBODY.
        presence: int32 [H, W], bit p is set where person p is, seen or hidden.
    """

    color: jax.Array
    depth: jax.Array
    owner: jax.Array
    presence: jax.Array


def rasterize(
    background: jax.Array, texture: jax.Array, footprints: Footprints, paint: Paint
) -> Canvas:
    """Draws N solids, given from far to near, over a background.

    Args:
        background: float32 [3, H, W]; H and W multiples of 16.
        texture: float32 [H, W], about zero; laid over rough surfaces.
        footprints: of the N solids.
        paint: of the N solids.
    """
    height, width = texture.shape
    rows, columns = height // TILE, width // TILE
    y, x = np.mgrid[:rows, :columns] * TILE
    corners = jnp.asarray(np.stack([x.ravel(), y.ravel()], -1), jnp.float32)  # [tiles, 2]
    tiles = _Tile(
        corners,
        _next_touching(corners, footprints.box),
        _to_tiles(background),
        _to_tiles(texture[None])[:, 0],
    )

    def draw(tile: _Tile) -> Canvas:
        return _draw_tile(tile, footprints, paint)

    # A CPU walks through each tile's own list; an accelerator through all lists at once.
    canvas = jax.lax.platform_dependent(
        tiles, cpu=lambda tiles: jax.lax.map(draw, tiles), default=jax.vmap(draw)
    )
    return jax.tree.map(lambda array: _from_tiles(array, height, width), canvas)


class _Tile(NamedTuple):
    """A tile's corner [2], its solids [N + 1], background [3, T, T] and texture [T, T]."""

    corner: jax.Array
    following: jax.Array
    background: jax.Array
    texture: jax.Array


def _to_tiles(picture: jax.Array) -> jax.Array:
    """[C, H, W] -> [tiles, C, T, T]."""
    channels, height, width = picture.shape
    tiles = picture.reshape(channels, height // TILE, TILE, width // TILE, TILE)
    return tiles.transpose(1, 3, 0, 2, 4).reshape(-1, channels, TILE, TILE)


def _from_tiles(tiles: jax.Array, height: int, width: int) -> jax.Array:
    """[tiles, ..., T, T] -> [..., H, W]."""
    grid = tiles.reshape(height // TILE, width // TILE, -1, TILE, TILE)
    return grid.transpose(2, 0, 3, 1, 4).reshape(*tiles.shape[1:-2], height, width)


def _next_touching(corners: jax.Array, boxes: jax.Array) -> jax.Array:
    """The first solid from n on that touches a tile, else N; int32 [tiles, N + 1]."""
    low, high = boxes[:, :2], boxes[:, 2:]
    touches = jnp.all(
        (low[None] < corners[:, None] + TILE) & (high[None] > corners[:, None]), axis=-1
    )  # [tiles, N]
    count = boxes.shape[0]
    index = jnp.where(touches, jnp.arange(count)[None], count)
    index = jnp.pad(index, ((0, 0), (0, 1)), constant_values=count)
    return jax.lax.cummin(index, axis=1, reverse=True)


def _draw_tile(tile: _Tile, footprints: Footprints, paint: Paint) -> Canvas:
    count = footprints.length.shape[0]
    rows, columns = np.mgrid[:TILE, :TILE] + 0.5
    x = tile.corner[0] + jnp.asarray(columns, jnp.float32)  # [T, T]
    y = tile.corner[1] + jnp.asarray(rows, jnp.float32)

    def more(state: tuple[jax.Array, Canvas]) -> jax.Array:
        return state[0] < count

    def step(state: tuple[jax.Array, Canvas]) -> tuple[jax.Array, Canvas]:
        n, canvas = state
        footprint, look = jax.tree.map(lambda array: array[n], (footprints, paint))
        return tile.following[n + 1], _draw_solid(canvas, x, y, tile.texture, footprint, look)

    canvas = Canvas(
        tile.background,
        jnp.full(x.shape, FAR, jnp.float32),
        jnp.full(x.shape, NOBODY, jnp.int32),
        jnp.zeros(x.shape, jnp.int32),
    )
    return jax.lax.while_loop(more, step, (tile.following[0], canvas))[1]


def _draw_solid(
    canvas: Canvas, x: jax.Array, y: jax.Array, texture: jax.Array, at: Footprints, look: Paint
) -> Canvas:
    """One solid over one tile; x, y, texture are [T, T], the solid's fields have no axis N."""
    dx, dy = x - at.origin[0], y - at.origin[1]
    u = at.to_uv[0, 0] * dx + at.to_uv[0, 1] * dy
    v = at.to_uv[1, 0] * dx + at.to_uv[1, 1] * dy

    # Where the ray meets the axis's near side: half a chord towards the camera from the axis.
    middle = 0.5 * (at.radius[0] + at.radius[1])
    chord = jnp.sqrt(jnp.maximum(middle * middle - v * v, 0.0))
    t = jnp.clip((u - chord * at.axis[1]) / (at.axis[0] * at.length), 0.0, 1.0)
    radius = at.radius[0] + t * (at.radius[1] - at.radius[0])
    du = u - t * at.length * at.axis[0]
    distance = jnp.sqrt(du * du + v * v)
    half = 0.5 * at.length * at.axis[0]
    beyond = jnp.maximum(jnp.abs(u - half) - half, jnp.abs(v) - radius)
    outside = jnp.where(look.flat > 0.5, beyond, distance - radius)
    inward = jnp.sqrt(jnp.maximum(radius * radius - du * du - v * v, 0.0))
    inward = jnp.where(look.flat > 0.5, 0.0, inward)
    w = t * at.length * at.axis[1] - inward
    depth = at.origin[2] + at.depth[0] * w - at.depth[1] * dx - at.depth[2] * dy

    first = t < look.split
    cover = jnp.clip(0.5 - outside * at.sharpness, 0.0, 1.0)
    cover = cover * jnp.where(first, look.alpha, look.rest_alpha)
    here = cover >= 0.5
    cover = jnp.where(depth < canvas.depth, cover, 0.0)
    in_front = cover >= 0.5

    toward_light = (du * at.light[0] + v * at.light[1] - inward * at.light[2]) / radius
    facing = jnp.where(look.flat > 0.5, 0.8, inward / radius)
    shade = 1.0 + look.gloss * (0.55 * toward_light + 0.3 * facing - 0.55)
    shade = shade * (1.0 + look.rough * texture)
    weave = _stripes(u * look.stripes[0]) * _stripes(v * look.stripes[1])

    def blend(channel: int) -> jax.Array:
        second = look.second_color[channel]
        woven = second + weave * (look.color[channel] - second)
        color = jnp.where(first, woven, look.rest_color[channel]) * shade
        return canvas.color[channel] + cover * (color - canvas.color[channel])

    person = look.owner >= 0
    bit = jnp.where(person, jnp.left_shift(1, jnp.maximum(look.owner, 0)), 0)
    return Canvas(
        color=jnp.stack([blend(0), blend(1), blend(2)]),
        depth=jnp.where(in_front, depth, canvas.depth),
        owner=jnp.where(in_front, look.owner, canvas.owner),
        presence=jnp.where(here, canvas.presence | bit, canvas.presence),
    )


def _stripes(phase: jax.Array) -> jax.Array:
    """1 on bands, 0 between, softly; a phase of zero everywhere gives 1."""
    wave = jnp.abs(phase - jnp.floor(phase) - 0.5)
    return jnp.clip((wave - 0.25) * 8.0 + 0.5, 0.0, 1.0)
