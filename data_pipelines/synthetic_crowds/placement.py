"""Where people stand, so that their boxes overlap as much as is wanted.

People are placed one after another. For each, many places, sizes and poses are drawn, and the one
is taken that brings the mean overlap of all so far closest to the wanted one.

Legend for shapes: P people at most, C bodies to choose from for each, K candidates.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from data_pipelines.synthetic_crowds.dice import Dice

CANDIDATES = 256


class Places(NamedTuple):
    """Where people are.

    Attributes:
        body: int32 [P], which of the C bodies.
        scale: float32 [P], pixels a body height.
        hips: float32 [P, 2], the body's origin in pixels.
        box: float32 [P, 4], x0, y0, x1, y1, inside the picture.
    """

    body: jax.Array
    scale: jax.Array
    hips: jax.Array
    box: jax.Array


def pairwise_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of boxes x0, y0, x1, y1: [N, 4], [M, 4] -> float32 [N, M]."""
    shared = _shared_area(a, b)
    return shared / jnp.maximum(_area(a)[:, None] + _area(b)[None] - shared, 1e-6)


def _shared_area(a: jax.Array, b: jax.Array) -> jax.Array:
    """Areas that boxes have in common, float32 [N, M]."""
    low = jnp.maximum(a[:, None, :2], b[None, :, :2])
    high = jnp.minimum(a[:, None, 2:], b[None, :, 2:])
    return jnp.prod(jnp.maximum(high - low, 0.0), axis=-1)


def _others(iou: jax.Array, present: jax.Array) -> jax.Array:
    """A square matrix of IoUs without oneself and without those who are absent."""
    pair = present[:, None] & present[None] & ~jnp.eye(present.shape[0], dtype=bool)
    return jnp.where(pair, iou, 0.0)


def _area(boxes: jax.Array) -> jax.Array:
    return jnp.prod(jnp.maximum(boxes[:, 2:] - boxes[:, :2], 0.0), axis=-1)


def place_people(
    key: jax.Array,
    bodies: jax.Array,
    heights: jax.Array,
    count: jax.Array,
    overlap: jax.Array,
    size: int,
) -> Places:
    """Places people in a square picture.

    Args:
        key: random key.
        bodies: float32 [P, C, 4], their boxes in body heights about the hips.
        heights: float32 [P, C], sizes of the people among each other.
        count: int32 [], how many of the P there are.
        overlap: float32 [], wanted mean box IoU.
        size: side of the picture in pixels.
    """
    people = bodies.shape[0]
    scene_key, key = jax.random.split(key)
    common = _sample_scene(scene_key, count, overlap, size)
    start = Places(
        jnp.zeros(people, jnp.int32),
        jnp.ones(people, jnp.float32),
        jnp.zeros((people, 2), jnp.float32),
        jnp.zeros((people, 4), jnp.float32),
    )

    def place(person: jax.Array, places: Places) -> Places:
        draw_key, cost_key = jax.random.split(jax.random.fold_in(key, person))
        candidates = _draw_candidates(
            draw_key, bodies[person], heights[person], places.box, person, common, size
        )
        cost = _cost(cost_key, candidates, places.box, person, overlap, size)
        best = jnp.argmin(cost)
        chosen = jax.tree.map(lambda array: array[best], candidates)
        chosen = chosen._replace(box=jnp.clip(chosen.box, 0.0, float(size)))
        return jax.tree.map(lambda all_, one: all_.at[person].set(one), places, chosen)

    return jax.lax.fori_loop(0, people, place, start)


class _Scene(NamedTuple):
    """How large people are: `height` pixels at a ground line at `ground`, more below it."""

    height: jax.Array
    growth: jax.Array
    ground: jax.Array


def _sample_scene(key: jax.Array, count: jax.Array, overlap: jax.Array, size: int) -> _Scene:
    dice = Dice(key, 3)
    crowd = count.astype(jnp.float32) ** -(0.52 - 0.5 * overlap)
    return _Scene(
        height=size * crowd * dice.uniform(0.62, 1.2),
        growth=dice.uniform(0.1, 1.5) / size,
        ground=size * dice.uniform(0.78, 1.02),
    )


def _draw_candidates(
    key: jax.Array,
    bodies: jax.Array,
    heights: jax.Array,
    placed: jax.Array,
    person: jax.Array,
    scene: _Scene,
    size: int,
) -> Places:
    """K places for one person: half of them anywhere, half beside somebody; boxes not clipped."""
    dice = Dice(key, 7, (CANDIDATES,))
    body = jnp.arange(CANDIDATES) % bodies.shape[0]
    shape, height = bodies[body], heights[body]  # [K, 4], [K]

    anchor = placed[dice.below(jnp.maximum(person, 1))]
    beside = dice.chance(0.6) & (person > 0)
    step = dice.uniform(-1.0, 1.0)
    step = 1.3 * step * jnp.abs(step) * (anchor[:, 2] - anchor[:, 0])
    anywhere = size * dice.uniform(0.02, 0.98)
    x = jnp.where(beside, 0.5 * (anchor[:, 0] + anchor[:, 2]) + step, anywhere)

    wobble = size * dice.uniform(0.06, 0.18) * dice.normal()
    near = anchor[:, 3] + 0.35 * wobble
    ground = jnp.where(beside, near, scene.ground + wobble)
    ground = jnp.minimum(ground, 1.25 * size)
    scale = scene.height * jnp.exp(scene.growth * (ground - scene.ground)) * height
    fitting = (anchor[:, 3] - anchor[:, 1]) / (shape[:, 3] - shape[:, 1])
    scale = jnp.where(beside & dice.chance(0.6), fitting, scale)
    scale = jnp.clip(scale, 0.16 * size, 1.5 * size)

    hips = jnp.stack(
        [x - 0.5 * (shape[:, 0] + shape[:, 2]) * scale, ground - shape[:, 3] * scale], axis=-1
    )
    box = shape * scale[:, None] + jnp.tile(hips, (1, 2))
    return Places(body, scale, hips, box)


def _cost(
    key: jax.Array,
    candidates: Places,
    placed: jax.Array,
    person: jax.Array,
    overlap: jax.Array,
    size: int,
) -> jax.Array:
    """How far each candidate is from what is wanted, float32 [K]."""
    inside = jnp.clip(candidates.box, 0.0, float(size))
    present = jnp.arange(placed.shape[0]) < person
    before = jnp.max(_others(pairwise_iou(placed, placed), present), axis=1)  # [P]
    iou = jnp.where(present[None], pairwise_iou(inside, placed), 0.0)  # [K, P]
    others = jnp.sum(jnp.maximum(before[None], iou), axis=1)
    mean = (others + jnp.max(iou, axis=1)) / jnp.maximum(person + 1, 2)
    miss = jnp.where(person > 0, jnp.abs(mean - overlap), 0.0)

    # Most people are inside the picture, and some are cut by its edge.
    area = _area(inside)
    cut = 1.0 - area / jnp.maximum(_area(candidates.box), 1e-6)
    rolls = jax.random.uniform(key, (1 + CANDIDATES,))
    allowed = jnp.maximum(1.35 * rolls[0] - 0.9, 0.0)
    cut_cost = 2.0 * jnp.maximum(cut - allowed, 0.0) + 4.0 * jnp.maximum(cut - 0.6, 0.0)

    # Nobody's box is inside a much larger one: such a person would disappear, or hide a face.
    smaller = jnp.minimum(area[:, None], _area(placed)[None])
    swallowed = _shared_area(inside, placed) > 0.95 * smaller
    swallowed = jnp.any(swallowed & (iou < 0.6) & present[None], axis=1)
    lost_cost = jnp.where(swallowed, 0.1, 0.0)
    return miss + cut_cost + lost_cost + 0.015 * rolls[1:]
