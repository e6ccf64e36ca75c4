"""Labels of a rendered crowd: what of whom is seen, hidden or outside.

Legend for shapes: P people, K keypoints, H = W = size.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from data_pipelines.synthetic_crowds.rasterizer import Canvas

LEAST_SEEN = 0.05  # share of a person that must be seen to be annotated


class Crowd(NamedTuple):
    """One image and its labels; rows of absent people are zero.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        keypoints: float32 [P, K, 3], x and y in pixels (whole numbers at pixels' centres), and
            v: 2 seen, 1 hidden by anything or anybody, own limbs included, 0 outside.
        boxes: float32 [P, 4], x, y, w, h of the whole person inside the image, hidden or not.
        area: float32 [P], pixels of the whole person inside the image.
        people: bool [P], who is annotated: everybody but those who are hidden almost wholly.
        owner: int32 [H, W], the person seen at a pixel, -1 for none.
        presence: int32 [H, W], bit p is set where person p is, seen or hidden.
    """

    image: jax.Array
    keypoints: jax.Array
    boxes: jax.Array
    area: jax.Array
    people: jax.Array
    owner: jax.Array
    presence: jax.Array


def annotate(
    image: jax.Array, canvas: Canvas, landmarks: jax.Array, reach: jax.Array, present: jax.Array
) -> Crowd:
    """Labels of a rendered image.

    Args:
        image: uint8 [H, W, 3].
        canvas: who is seen where.
        landmarks: float32 [P, K, 3], the keypoints' places: x, y and depth in pixels.
        reach: float32 [P, K], how deep below a person's surface a keypoint counts as seen.
        present: bool [P].
    """
    people = present.shape[0]
    index = jnp.arange(people)
    inside = jnp.bitwise_and(canvas.presence[None] >> index[:, None, None], 1) > 0  # [P, H, W]
    seen = canvas.owner[None] == index[:, None, None]
    area = jnp.sum(inside, axis=(1, 2)).astype(jnp.float32)
    shown = jnp.sum(seen, axis=(1, 2)).astype(jnp.float32)
    annotated = present & (area > 0) & (shown >= LEAST_SEEN * area)
    keypoints = _look_at(landmarks, reach, canvas)
    annotated = annotated & jnp.any(keypoints[..., 2] > 0, axis=1)
    return Crowd(
        image=image,
        keypoints=jnp.where(annotated[:, None, None], keypoints, 0.0),
        boxes=jnp.where(annotated[:, None], _mask_boxes(inside), 0.0),
        area=jnp.where(annotated, area, 0.0),
        people=annotated,
        owner=canvas.owner,
        presence=canvas.presence,
    )


def _look_at(landmarks: jax.Array, reach: jax.Array, canvas: Canvas) -> jax.Array:
    """x, y and v of landmarks [P, K, 3]."""
    height, width = canvas.depth.shape
    x, y, z = (landmarks[..., axis] for axis in range(3))
    column, row = jnp.floor(x).astype(jnp.int32), jnp.floor(y).astype(jnp.int32)
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    column, row = jnp.clip(column, 0, width - 1), jnp.clip(row, 0, height - 1)
    own = canvas.owner[row, column] == jnp.arange(landmarks.shape[0])[:, None]
    seen = own & (canvas.depth[row, column] > z - reach)
    v = jnp.where(inside, jnp.where(seen, 2.0, 1.0), 0.0)
    labelled = jnp.stack([x - 0.5, y - 0.5, v], axis=-1)
    return jnp.where(inside[..., None], labelled, 0.0)


def _mask_boxes(masks: jax.Array) -> jax.Array:
    """The tight boxes x, y, w, h of masks [P, H, W], float32 [P, 4]; zero for empty ones."""

    def span(filled: jax.Array) -> tuple[jax.Array, jax.Array]:
        first = jnp.argmax(filled, axis=1)
        last = filled.shape[1] - jnp.argmax(filled[:, ::-1], axis=1)
        return first, jnp.where(jnp.any(filled, axis=1), last - first, 0)

    x, w = span(jnp.any(masks, axis=1))
    y, h = span(jnp.any(masks, axis=2))
    return jnp.stack([x, y, w, h], axis=-1).astype(jnp.float32)
