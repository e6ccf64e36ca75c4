"""What is around the people: backgrounds, distractors, occluders, light and the camera's flaws.

Legend for shapes: D things, H = W = size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.appearance import any_color, skin_color, surface_color
from data_pipelines.synthetic_crowds.dice import Dice
from data_pipelines.synthetic_crowds.primitives import Paint, Solids


def sample_light(key: jax.Array) -> jax.Array:
    """The unit vector towards the light, from above and mostly from the viewer's side."""
    dice = Dice(key, 3)
    light = jnp.stack([dice.uniform(-1.0, 1.0), -dice.uniform(0.3, 1.0), -dice.uniform(0.0, 0.9)])
    return light / jnp.linalg.norm(light)


def smooth_noise(key: jax.Array, cells: int, size: int) -> jax.Array:
    """Normal noise on a grid of cells, smoothly enlarged, float32 [H, W]."""
    grid = jax.random.normal(key, (cells, cells))
    return jax.image.resize(grid, (size, size), "cubic")


def sample_texture(key: jax.Array, size: int) -> jax.Array:
    """Fine structure that rough surfaces show, about zero, float32 [H, W]."""
    coarse, middle, fine = jax.random.split(key, 3)
    texture = (
        0.2 * smooth_noise(coarse, 10, size)
        + 0.3 * smooth_noise(middle, size // 8, size)
        + 0.4 * smooth_noise(fine, size // 3, size)
    )
    return jnp.clip(texture, -1.5, 1.5)


def sample_background(key: jax.Array, texture: jax.Array) -> jax.Array:
    """A wall, a sky or a landscape over a floor, float32 [3, H, W]."""
    size = texture.shape[0]
    patch_key, dice_key = jax.random.split(key)
    dice = Dice(dice_key, 54)
    colors = [surface_color(dice) for _ in range(5)]
    y, x = (jnp.asarray(axis, jnp.float32) for axis in np.mgrid[:size, :size] / size)

    # Upper half: a vertical gradient, broken by soft patches of a third colour.
    fade = jnp.clip(y * dice.uniform(0.5, 2.0), 0.0, 1.0)
    patches = jax.nn.sigmoid(3.0 * smooth_noise(patch_key, 6, size) - 1.0)
    upper = _mix(_mix(colors[0], colors[1], fade), colors[2], patches * dice.uniform(0.0, 0.9))

    # Bricks, planks or panels: rows and columns of joints on the wall.
    rows = y * jnp.floor(dice.uniform(2.0, 22.0)) + dice.uniform(-0.12, 0.12) * x
    shift = 0.5 * (jnp.floor(rows) % 2.0)
    columns = x * jnp.floor(dice.uniform(0.0, 14.0)) + shift
    joints = jnp.maximum(_line(rows), _line(columns))
    upper = upper * (1.0 - jnp.maximum(dice.uniform(-0.3, 0.45), 0.0) * joints)[None]

    # Floor: perspective rows that grow towards the camera.
    horizon = dice.uniform(0.35, 0.95)
    below = jnp.maximum(y - horizon, 1e-3)
    far = 0.12 / (below + 0.05) * jnp.floor(dice.uniform(1.0, 7.0))
    grid = jnp.maximum(_line(far), _line((x - 0.5) * far))
    lines = jnp.maximum(dice.uniform(-0.4, 0.4), 0.0)
    floor = _mix(colors[3], colors[4], jnp.clip(below * 2.0, 0.0, 1.0)) * (1.0 - lines * grid)[None]

    ground = jnp.clip((y - horizon) * size, 0.0, 1.0)
    picture = (1.0 - ground)[None] * upper + ground[None] * floor
    return picture * (1.0 + dice.uniform(0.0, 0.18) * texture)[None]


def _mix(a: jax.Array, b: jax.Array, share: jax.Array) -> jax.Array:
    """Two colours [3] or pictures [3, H, W], mixed by a map [H, W]."""
    a, b = (c if c.ndim == 3 else c[:, None, None] for c in (a, b))
    return a + share[None] * (b - a)


def _line(phase: jax.Array) -> jax.Array:
    """1 near whole numbers, 0 elsewhere."""
    wave = jnp.abs(phase - jnp.floor(phase) - 0.5)
    return jnp.clip((wave - 0.44) * 30.0, 0.0, 1.0)


class Things(NamedTuple):
    """Solids that are nobody's, and their looks."""

    solids: Solids
    paint: Paint


def sample_distractors(key: jax.Array, count: int, size: int) -> Things:
    """Panels, furniture, poles, bushes and limbs without a body, behind the people."""
    return jax.vmap(_sample_thing, in_axes=(0, None, None))(
        jax.random.split(key, count), jnp.float32(size), jnp.asarray([0.33, 0.27, 0.14, 0.13, 0.13])
    )


def sample_occluders(key: jax.Array, count: int, size: int) -> Things:
    """Furniture, poles and bushes in front of some people; each is there two times in five."""
    sample_key, dice_key = jax.random.split(key)
    things = jax.vmap(_sample_thing, in_axes=(0, None, None))(
        jax.random.split(sample_key, count), jnp.float32(size), jnp.asarray([0, 0.5, 0.25, 0.25, 0])
    )
    dice = Dice(dice_key, 2, (count,))
    drop = size * dice.uniform(0.0, 0.35)
    drop = jnp.stack([0.0 * drop, drop, 0.0 * drop], axis=-1)
    here = dice.chance(0.4).astype(jnp.float32)
    solids = things.solids
    return things._replace(
        solids=solids._replace(
            start=solids.start + drop,
            end=solids.end + drop,
            radius_start=solids.radius_start * here,
        )
    )


# Kinds of things: length and radius from and to, in picture sides, and where the lower end is.
_KINDS = np.array(
    [
        [0.05, 0.35, 0.025, 0.14, 0.15, 0.75],  # panel: a window, a door, a poster
        [0.08, 0.3, 0.05, 0.16, 0.6, 1.05],  # furniture
        [0.4, 1.1, 0.006, 0.02, 0.6, 1.05],  # pole
        [0.01, 0.25, 0.04, 0.12, 0.5, 1.0],  # bush or tree top
        [0.08, 0.22, 0.01, 0.028, 0.1, 1.0],  # limb
    ],
    np.float32,
)
_FOLIAGE = np.array([0.24, 0.33, 0.15], np.float32)


def _sample_thing(key: jax.Array, size: jax.Array, shares: jax.Array) -> Things:
    """One thing; `shares` are the kinds' relative frequencies, float32 [5]."""
    dice = Dice(key, 28)
    kind = dice.choose(shares)
    is_flat, is_bush, is_limb = kind <= 1, kind == 3, kind == 4
    share = dice.uniforms(8)
    low, high = jnp.asarray(_KINDS)[kind, 0::2], jnp.asarray(_KINDS)[kind, 1::2]
    length, radius, base = low + share[:3] * (high - low)

    tilt = 0.06 * dice.normal()
    angle = jnp.where(is_limb, 2 * math.pi * share[3], jnp.where(is_flat, 0.3 * tilt, tilt))
    foot = jnp.stack([1.2 * share[4] - 0.1, base - jnp.where(is_bush, radius, 0.0)])
    top = foot - length * jnp.stack([jnp.sin(angle), jnp.cos(angle)])
    solids = Solids(
        start=size * jnp.append(top, 0.0),
        end=size * jnp.append(foot, 0.0),
        radius_start=size * radius,
        radius_end=size * radius * jnp.where(is_limb, 0.5 + 0.5 * share[5], 1.0),
        frame=jnp.eye(3),
        depth_ratio=jnp.float32(1.0),
    )

    surface, skin, second = surface_color(dice), skin_color(dice), any_color(dice)
    color = jnp.where(is_bush, _FOLIAGE * (0.5 + 0.7 * share[6]), surface)
    color = jnp.where(is_limb & (share[7] < 0.6), skin, color)
    patterned = jnp.stack([dice.chance(0.2), dice.chance(0.2)]) & is_flat
    one = jnp.float32(1.0)
    paint = Paint(
        color=color,
        second_color=0.6 * color + 0.4 * second,
        rest_color=jnp.where(is_limb, second, color),
        split=jnp.where(is_limb, 0.3 + share[6], 1.01),
        alpha=one,
        rest_alpha=one,
        stripes=jnp.where(patterned, dice.uniform(4.0, 20.0) / size, 0.0),
        soft=one,
        flat=is_flat.astype(jnp.float32),
        gloss=one,
        rough=jnp.where(is_bush, 0.6, 0.2 * share[5]),
        owner=jnp.int32(-1),
    )
    return Things(solids, paint)


def sample_seats(
    key: jax.Array, hips: jax.Array, soles: jax.Array, scale: jax.Array, seated: jax.Array
) -> Things:
    """A box under everybody who sits, standing on the ground.

    Args:
        key: random key.
        hips: float32 [P, 3], pixels and depth.
        soles: float32 [P], the y of the lowest foot.
        scale: float32 [P], pixels a body height.
        seated: bool [P].
    """
    people = scale.shape[0]
    things = jax.vmap(_sample_thing, in_axes=(0, None, None))(
        jax.random.split(key, people), jnp.float32(1.0), jnp.asarray([0, 1.0, 0, 0, 0])
    )
    top, zero = hips[:, 1] + 0.055 * scale, jnp.zeros(people, jnp.float32)
    behind = hips[:, 2] + 0.12 * scale
    there = seated.astype(jnp.float32)
    solids = things.solids._replace(
        start=jnp.stack([hips[:, 0], top, behind], -1),
        end=jnp.stack([hips[:, 0], jnp.maximum(soles, top + 0.1 * scale), behind], -1),
        radius_start=0.14 * scale * there,
        radius_end=0.14 * scale,
    )
    paint = things.paint._replace(flat=zero + 1.0, stripes=jnp.zeros((people, 2)), split=zero + 1.1)
    return Things(solids, paint)


def ground_shadows(feet: jax.Array, scale: jax.Array) -> Things:
    """Soft dark ellipses on the ground.

    Args:
        feet: float32 [P, 3], where people touch the ground.
        scale: float32 [P], pixels a body height, 0 for nobody.
    """
    people = scale.shape[0]
    sideways = jnp.stack([0.1 * scale, 0.0 * scale, 0.0 * scale], -1)
    one = jnp.ones(people, jnp.float32)
    black = jnp.zeros((people, 3), jnp.float32)
    # Thin along y: the frame's third axis points down.
    frame = jnp.asarray([[1, 0, 0], [0, 0, 1], [0, -1, 0]], jnp.float32).T
    solids = Solids(
        feet - sideways,
        feet + sideways,
        0.12 * scale,
        0.12 * scale,
        jnp.broadcast_to(frame[None], (people, 3, 3)),
        0.25 * one,
    )
    paint = Paint(
        black, black, black, 1.1 * one, 0.45 * one, 0.45 * one, jnp.zeros((people, 2)),
        jnp.maximum(0.09 * scale, 1.0), 0.0 * one, 0.0 * one, 0.0 * one,
        jnp.full(people, -1, jnp.int32),
    )  # fmt: skip
    return Things(solids, paint)


def develop(key: jax.Array, color: jax.Array) -> jax.Array:
    """The camera: exposure, colour cast, haze, blur and noise.

    Args:
        key: random key.
        color: float32 [3, H, W], RGB.

    Returns:
        uint8 [H, W, 3].
    """
    grain_key, dice_key = jax.random.split(key)
    dice = Dice(dice_key, 7)
    gain = jnp.exp(0.2 * dice.normal() + 0.06 * dice.normals(3))[:, None, None]
    haze = jnp.maximum(dice.uniform(-0.15, 0.15), 0.0)
    picture = color * gain * (1.0 - haze) + haze
    picture = _blur(picture, jnp.maximum(dice.uniform(-0.2, 0.25), 0.0))
    grain = jax.random.normal(grain_key, picture.shape[1:])
    picture = picture + 0.03 * dice.uniform() ** 2 * grain[None]
    return jnp.round(255.0 * jnp.clip(picture, 0.0, 1.0)).astype(jnp.uint8).transpose(1, 2, 0)


def _blur(picture: jax.Array, side: jax.Array) -> jax.Array:
    """Smooths with the taps side, 1 - 2 side, side along both axes; [3, H, W]."""
    for axis in (1, 2):
        before = jnp.roll(picture, 1, axis)
        after = jnp.roll(picture, -1, axis)
        picture = (1.0 - 2.0 * side) * picture + side * (before + after)
    return picture
