"""Endless crowds with exact labels: a pure function of a random key.

`crowd` makes one image, `crowd_batch` a training batch; both run wherever JAX runs, and image i of
seed s is the same in any batch.

Legend for shapes: B images, P people (padded to the config's most), K keypoints, J landmarks,
H = W = size, C bodies drawn for each person, M solids of a body, N solids in all.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds import bodies, poses, scenery
from data_pipelines.synthetic_crowds.appearance import sample_dress, sample_paint
from data_pipelines.synthetic_crowds.bodies import Body, Dress
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.placement import place_people
from data_pipelines.synthetic_crowds.primitives import (
    Paint,
    Solids,
    bounding_boxes,
    project,
)
from data_pipelines.synthetic_crowds.rasterizer import Canvas, rasterize
from pinet_jax.skeletons import COCO_17, Skeleton

CHOICES = 6  # bodies drawn for each person, to find one that fits
LAYER = 8.0  # picture sides between two people's depths: nobody reaches through another
LEAST_SEEN = 0.05  # share of a person that must be seen to be annotated
STRIDE = 4  # input pixels of one feature-map pixel


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


class Cast(NamedTuple):
    """The people of an image, ready to be drawn: in pixels, in depth order.

    Attributes:
        solids: Solids with leading axes [P, M].
        paint: Paint with leading axes [P, M].
        landmarks: float32 [P, J, 3].
        reach: float32 [P, J], how deep below a person's surface a landmark counts as seen.
        present: bool [P].
        things: what belongs to people without being them: seats and shadows.
    """

    solids: Solids
    paint: Paint
    landmarks: jax.Array
    reach: jax.Array
    present: jax.Array
    things: tuple[scenery.Things, ...]


def crowd(key: jax.Array, config: CrowdConfig, skeleton: Skeleton = COCO_17) -> Crowd:
    """Makes one image of a crowd.

    Args:
        key: random key.
        config: the dials.
        skeleton: whose keypoints to give.

    Raises:
        InputError: the skeleton has keypoints that the renderer does not know.
    """
    names = bodies.landmark_indices(skeleton)
    cast_key, scene_key = jax.random.split(key)
    cast = sample_cast(cast_key, config)
    image, canvas = draw(scene_key, cast, config)
    return annotate(image, canvas, cast, names)


def crowd_of(seed: int, index: int, config: CrowdConfig, skeleton: Skeleton = COCO_17) -> Crowd:
    """Image `index` of a seed."""
    return crowd(jax.random.fold_in(jax.random.key(seed), index), config, skeleton)


def crowd_batch(
    keys: jax.Array, config: CrowdConfig, skeleton: Skeleton = COCO_17, max_people: int = 30
) -> dict[str, jax.Array]:
    """A training batch made on the device; call it under `jax.jit`.

    Args:
        keys: random keys [B]; `jax.random.fold_in(seed, i)` for image i.
        config: the dials.
        skeleton: whose keypoints to give.
        max_people: rows to which people are padded, at least the config's most.

    Returns:
        image: uint8 [B, S, S, 3], keypoints: float32 [B, P, K, 3] in feature-map pixels, area:
        float32 [B, P], of the boxes in input pixels, valid_mask: uint8 [B, S/4, S/4].
    """

    def one(key: jax.Array) -> dict[str, jax.Array]:
        made = crowd(key, config, skeleton)
        keypoints = made.keypoints / jnp.asarray([STRIDE, STRIDE, 1], jnp.float32)[None, None]
        rows = (0, max_people - config.people[1])
        side = config.size // STRIDE
        return {
            "image": made.image,
            "keypoints": jnp.pad(keypoints, (rows, (0, 0), (0, 0))),
            "area": jnp.pad(made.boxes[:, 2] * made.boxes[:, 3], rows),
            "valid_mask": jnp.ones((side, side), jnp.uint8),
        }

    return over_keys(one, keys)


def over_keys(function, keys: jax.Array):  # noqa: ANN001, ANN201
    """`function` of every key: one after another on a CPU, side by side on an accelerator."""
    return jax.lax.platform_dependent(
        keys, cpu=lambda keys: jax.lax.map(function, keys), default=jax.vmap(function)
    )


def sample_cast(key: jax.Array, config: CrowdConfig) -> Cast:
    """Draws people, their poses, clothes and places."""
    people, size = config.people[1], config.size
    keys = jax.random.split(key, 7)
    count = jax.random.randint(keys[0], (), config.people[0], people + 1)
    camera_pitch, camera_roll = _sample_camera(keys[1])

    body_keys = jax.random.split(keys[2], (people, CHOICES))
    drawn = jax.vmap(jax.vmap(_sample_body, in_axes=(0, None, None)), in_axes=(0, None, None))(
        body_keys, camera_pitch, camera_roll
    )
    span = 1.4 * min(config.overlap, 0.25, 0.85 - config.overlap)
    span = min(config.overlap, 0.25, max(0.85 - config.overlap, 0.0))
    wanted = config.overlap + jax.random.uniform(keys[3], minval=-span, maxval=span)
    places = place_people(keys[4], drawn.box, drawn.height, count, wanted, size)

    chosen = jax.tree.map(lambda part: jax.vmap(lambda row, c: row[c])(part, places.body), drawn)
    present = jnp.arange(people) < count
    nearness = places.hips[:, 1] + places.scale * chosen.box[:, 3]
    nearness = nearness + 0.06 * places.scale * jax.random.normal(keys[5], (people,))
    rank = jnp.argsort(jnp.argsort(-nearness)).astype(jnp.float32)
    return _arrange(keys[6], chosen, places.hips, places.scale, rank * LAYER * size, present)


def _sample_camera(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How far the camera looks down, and how it is turned about its axis, in radians."""
    pitch_key, roll_key = jax.random.split(key)
    pitch = jax.random.uniform(pitch_key, minval=-0.1, maxval=0.4)
    return pitch, 0.06 * jax.random.truncated_normal(roll_key, -2.0, 2.0)


class _Actor(NamedTuple):
    """A body as the camera sees it, in body heights about the hips."""

    solids: Solids
    landmarks: jax.Array
    dress: Dress
    dress_key: jax.Array
    box: jax.Array
    height: jax.Array
    lowest: jax.Array
    seated: jax.Array


def _sample_body(key: jax.Array, pitch: jax.Array, roll: jax.Array) -> _Actor:
    shape_key, dress_key, pose_key, heading_key, paint_key = jax.random.split(key, 5)
    shape, dress = bodies.sample_shape(shape_key), sample_dress(dress_key)
    angles, family = poses.sample_pose(pose_key)
    body = bodies.build_body(shape, dress, angles)
    heading = poses.sample_heading(heading_key)
    camera = (
        bodies.rotation(0, pitch) @ bodies.rotation(2, roll) @ bodies.rotation(1, heading)
    )
    return view_body(body, camera)._replace(
        dress=dress, dress_key=paint_key, height=shape.height, seated=family == poses.SITTING
    )


def view_body(body: Body, camera: jax.Array) -> _Actor:
    """Turns a body to the camera and measures it."""
    solids, landmarks = bodies.view(body.solids, body.landmarks, camera)
    boxes = bounding_boxes(solids)  # [M, 4]
    there = (solids.radius_start > 0)[:, None]
    low = jnp.min(jnp.where(there, boxes[:, :2], jnp.inf), axis=0)
    high = jnp.max(jnp.where(there, boxes[:, 2:], -jnp.inf), axis=0)
    zero = jnp.float32(0.0)
    return _Actor(
        solids, landmarks, Dress(*[zero] * 6), jax.random.key(0), jnp.concatenate([low, high]),
        jnp.float32(1.0), high[1], jnp.bool_(False),
    )  # fmt: skip


def _arrange(
    key: jax.Array,
    actors: _Actor,
    hips: jax.Array,
    scale: jax.Array,
    depth: jax.Array,
    present: jax.Array,
) -> Cast:
    """Scales the chosen bodies, puts them into the picture and dresses them."""
    people = scale.shape[0]
    paint = jax.vmap(sample_paint)(actors.dress_key, actors.dress, jnp.arange(people), scale)
    origin = jnp.concatenate([hips, depth[:, None]], axis=-1)  # [P, 3]
    size = scale[:, None]
    there = jnp.where(present, scale, 0.0)
    solids = actors.solids
    solids = solids._replace(
        start=origin[:, None] + size[..., None] * solids.start,
        end=origin[:, None] + size[..., None] * solids.end,
        radius_start=there[:, None] * solids.radius_start,
        radius_end=size * solids.radius_end,
    )
    soles = hips[:, 1] + scale * actors.lowest
    feet = jnp.mean(
        actors.landmarks[:, [bodies.LANDMARKS.index(f"{s}_ankle") for s in ("left", "right")], 0],
        axis=1,
    )
    feet = jnp.stack([hips[:, 0] + scale * feet, soles - 0.02 * scale, depth + 3.0 * scale], -1)
    return Cast(
        solids=solids,
        paint=paint,
        landmarks=origin[:, None] + size[..., None] * actors.landmarks,
        reach=size * jnp.asarray(bodies.LANDMARK_DEPTH)[None],
        present=present,
        things=(
            scenery.sample_seats(key, origin, soles, scale, actors.seated & present),
            scenery.ground_shadows(feet, there),
        ),
    )


def draw(key: jax.Array, cast: Cast, config: CrowdConfig) -> tuple[jax.Array, Canvas]:
    """Draws a cast into a random scene.

    Returns:
        the image, uint8 [H, W, 3], and the buffers behind it.
    """
    keys = jax.random.split(key, 7)
    size = config.size
    layers = LAYER * size * len(cast.present)
    texture = scenery.sample_texture(keys[0], size)
    background = scenery.sample_background(keys[1], texture)
    behind = scenery.sample_distractors(keys[2], config.distractors, size)
    order = jnp.linspace(2.0, 3.0, config.distractors, dtype=jnp.float32)
    behind = _push(behind, layers * order)
    before = scenery.sample_occluders(keys[3], config.occluders, size)
    slots = jax.random.randint(keys[4], (config.occluders,), 0, len(cast.present))
    before = _push(before, LAYER * size * (slots.astype(jnp.float32) - 0.5))

    flat = jax.tree.map(lambda part: part.reshape(-1, *part.shape[2:]), (cast.solids, cast.paint))
    groups = [scenery.Things(*flat), *cast.things, behind, before]
    solids, paint = jax.tree.map(lambda *parts: jnp.concatenate(parts), *groups)
    depth = 0.5 * (solids.start[:, 2] + solids.end[:, 2])
    solids, paint = jax.tree.map(lambda part: part[jnp.argsort(-depth)], (solids, paint))
    footprints = project(solids, paint.soft, scenery.sample_light(keys[5]))
    canvas = rasterize(background, texture, footprints, paint)
    return scenery.develop(keys[6], canvas.color), canvas


def _push(things: scenery.Things, depth: jax.Array) -> scenery.Things:
    """Moves things away from the camera."""
    away = jnp.stack([0.0 * depth, 0.0 * depth, depth], axis=-1)
    solids = things.solids
    return things._replace(
        solids=solids._replace(start=solids.start + away, end=solids.end + away)
    )


def annotate(image: jax.Array, canvas: Canvas, cast: Cast, names: np.ndarray) -> Crowd:
    """Labels of a drawn cast, with the K landmarks of `names`."""
    people = cast.present.shape[0]
    index = jnp.arange(people)
    inside = jnp.bitwise_and(canvas.presence[None] >> index[:, None, None], 1) > 0  # [P, H, W]
    seen = canvas.owner[None] == index[:, None, None]
    area = jnp.sum(inside, axis=(1, 2)).astype(jnp.float32)
    shown = jnp.sum(seen, axis=(1, 2)).astype(jnp.float32)
    annotated = cast.present & (area > 0) & (shown >= LEAST_SEEN * area)
    keypoints = _look_at(cast.landmarks, cast.reach, canvas)[:, names]
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
    """x, y and v of landmarks [P, J, 3]."""
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
