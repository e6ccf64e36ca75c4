"""Endless crowds with exact labels: a pure function of a random key.

`crowd` makes one image, `crowds` several, `crowd_batch` a training batch. All run wherever JAX
runs, and image i of a seed is the same in any batch.

Legend for shapes: B images, P people (padded to the config's most), K keypoints, J landmarks,
H = W = size, C bodies sampled for each person, M solids of a body, N solids in all.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds import bodies, poses, scenery
from data_pipelines.synthetic_crowds.appearance import sample_dress, sample_paint
from data_pipelines.synthetic_crowds.config import MAX_PEOPLE, CrowdConfig
from data_pipelines.synthetic_crowds.dice import Dice
from data_pipelines.synthetic_crowds.labels import Crowd, annotate
from data_pipelines.synthetic_crowds.limbs import rotation
from data_pipelines.synthetic_crowds.placement import place_people
from data_pipelines.synthetic_crowds.primitives import Paint, Solids, project
from data_pipelines.synthetic_crowds.rasterizer import Canvas, rasterize
from data_pipelines.synthetic_crowds.shapes import Dress, sample_shape
from pinet_jax.frames import STRIDE
from pinet_jax.skeletons import COCO_17, Skeleton

CHOICES = 6  # bodies sampled for each person, to find one that fits
LAYER = 8.0  # picture sides between two people's depths: nobody reaches through another


_ANKLES = np.array([bodies.LANDMARKS.index(f"{side}_ankle") for side in ("left", "right")])


class Cast(NamedTuple):
    """The people of an image, ready to be rendered: in pixels, in depth order.

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
    image, canvas = render_cast(scene_key, cast, config)
    return annotate(image, canvas, cast.landmarks[:, names], cast.reach[:, names], cast.present)


def crowds(
    key: jax.Array, indices: jax.Array, config: CrowdConfig, skeleton: Skeleton = COCO_17
) -> Crowd:
    """Several images; fields get a leading axis B. Call it under `jax.jit`.

    Args:
        key: random key of the seed, `jax.random.key(seed)`.
        indices: int32 [B]; image i is the same in whatever company.
        config: the dials.
        skeleton: whose keypoints to give.
    """

    def one(index: jax.Array) -> Crowd:
        return crowd(jax.random.fold_in(key, index), config, skeleton)

    # One after another on a CPU, where loops are cheap; side by side on an accelerator.
    return jax.lax.platform_dependent(
        indices, cpu=lambda i: jax.lax.map(one, i), default=jax.vmap(one)
    )


def crowd_batch(
    key: jax.Array,
    indices: jax.Array,
    config: CrowdConfig,
    skeleton: Skeleton = COCO_17,
    *,
    max_people: int = MAX_PEOPLE,
) -> dict[str, jax.Array]:
    """A training batch made on the device; call it under `jax.jit`.

    Args:
        key: random key of the seed.
        indices: int32 [B], which images.
        config: the dials.
        skeleton: whose keypoints to give.
        max_people: P, rows to which people are padded, at least the config's most.

    Returns:
        image: uint8 [B, S, S, 3]; keypoints: float32 [B, P, K, 3] in input pixels; area:
        float32 [B, P], of the boxes in input pixels; corners: float32 [B, P, 4, 2], the boxes' top
        left, top right, bottom left and bottom right; valid_mask: uint8 [B, S/4, S/4].
    """

    return training_batch(crowds(key, indices, config, skeleton), max_people=max_people)


def training_batch(made: Crowd, *, max_people: int) -> dict[str, jax.Array]:
    """Crowds with a leading axis B, in the form that `crowd_batch` states."""
    batch, people = made.people.shape
    side = made.image.shape[1] // STRIDE
    rows = ((0, 0), (0, max_people - people))
    sides = jnp.asarray([[0, 0], [1, 0], [0, 1], [1, 1]], jnp.float32)[None, None]
    corners = made.boxes[:, :, None, :2] + made.boxes[:, :, None, 2:] * sides  # [B, P, 4, 2]
    return {
        "image": made.image,
        "keypoints": jnp.pad(made.keypoints, (*rows, (0, 0), (0, 0))),
        "area": jnp.pad(made.boxes[..., 2] * made.boxes[..., 3], rows),
        "corners": jnp.pad(corners, (*rows, (0, 0), (0, 0))),
        "valid_mask": jnp.ones((batch, side, side), jnp.uint8),
    }


def sample_cast(key: jax.Array, config: CrowdConfig) -> Cast:
    """Draws people, their poses, clothes and places."""
    people, size = config.people[1], config.size
    keys = jax.random.split(key, 7)
    count = jax.random.randint(keys[0], (), config.people[0], people + 1)
    body_keys = jax.random.split(keys[2], (people, CHOICES))
    sample = jax.vmap(jax.vmap(_sample_actor, in_axes=(0, None)), in_axes=(0, None))
    sampled = sample(body_keys, _sample_camera(keys[1]))  # [P, C, ...]
    # Images differ in crowding about the wanted mean, as far as boxes can.
    span = min(config.overlap, 0.25, 0.85 - config.overlap)
    wanted = config.overlap + jax.random.uniform(keys[3], minval=-span, maxval=span)
    places = place_people(keys[4], sampled.view.box, sampled.height, count, wanted, size)
    choose = jax.vmap(lambda choices, chosen: choices[chosen])
    actors = jax.tree.map(lambda array: choose(array, places.body), sampled)

    # Who stands lower in the picture is nearer, give or take a little.
    ground = places.hips[:, 1] + places.scale * actors.view.box[:, 3]
    ground = ground + 0.06 * places.scale * jax.random.normal(keys[5], (people,))
    layer = jnp.argsort(jnp.argsort(-ground))
    return arrange(
        keys[6], actors, places.hips, places.scale, layer, jnp.arange(people) < count, size
    )


def _sample_camera(key: jax.Array) -> jax.Array:
    """A camera that looks down a little and is not quite upright, float32 [3, 3]."""
    dice = Dice(key, 2)
    pitch, roll = dice.uniform(-0.1, 0.4), 0.06 * dice.normal()
    return rotation(0, pitch) @ rotation(2, roll)


class Actor(NamedTuple):
    """A dressed body before the camera.

    Attributes:
        view: the body as the camera sees it, in body heights about the hips.
        dress: geometry of its clothes.
        paint_key: random key of its colours.
        height: float32 [], of the person among others.
        seated: bool [].
    """

    view: bodies.View
    dress: Dress
    paint_key: jax.Array
    height: jax.Array
    seated: jax.Array


def _sample_actor(key: jax.Array, camera: jax.Array) -> Actor:
    shape_key, dress_key, pose_key, heading_key, paint_key = jax.random.split(key, 5)
    shape, dress = sample_shape(shape_key), sample_dress(dress_key)
    angles, family = poses.sample_pose(pose_key)
    body = bodies.build_body(shape, dress, angles)
    heading = rotation(1, poses.sample_heading(heading_key))
    view = bodies.view(body, camera @ heading)
    return Actor(view, dress, paint_key, shape.height, family == poses.SITTING)


def arrange(
    key: jax.Array,
    actors: Actor,
    hips: jax.Array,
    scale: jax.Array,
    layer: jax.Array,
    present: jax.Array,
    size: int,
) -> Cast:
    """Puts people into the picture and dresses them.

    Args:
        key: random key.
        actors: P people.
        hips: float32 [P, 2], where the hips' centres are, in pixels.
        scale: float32 [P], pixels a body height.
        layer: int32 [P], rank in depth, 0 for the nearest.
        present: bool [P].
        size: side of the picture in pixels.
    """
    paint = jax.vmap(sample_paint)(actors.paint_key, actors.dress, jnp.arange(len(scale)), scale)
    depth = LAYER * size * layer.astype(jnp.float32)
    origin = jnp.concatenate([hips, depth[:, None]], axis=-1)  # [P, 3]
    there = jnp.where(present, scale, 0.0)

    view = actors.view
    wide = scale[:, None, None]
    solids = view.solids._replace(
        start=origin[:, None] + wide * view.solids.start,
        end=origin[:, None] + wide * view.solids.end,
        radius_start=there[:, None] * view.solids.radius_start,
        radius_end=there[:, None] * view.solids.radius_end,
    )
    landmarks = origin[:, None] + wide * view.landmarks
    soles = hips[:, 1] + scale * view.soles
    feet = jnp.mean(landmarks[:, _ANKLES, 0], axis=1)
    feet = jnp.stack([feet, soles - 0.02 * scale, depth + 3.0 * scale], axis=-1)
    return Cast(
        solids=solids,
        paint=paint,
        landmarks=landmarks,
        reach=scale[:, None] * jnp.asarray(bodies.LANDMARK_DEPTH)[None],
        present=present,
        things=(
            scenery.sample_seats(key, origin, soles, scale, actors.seated & present),
            scenery.ground_shadows(feet, there),
        ),
    )


def render_cast(key: jax.Array, cast: Cast, config: CrowdConfig) -> tuple[jax.Array, Canvas]:
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

    flat = jax.tree.map(lambda a: a.reshape(-1, *a.shape[2:]), (cast.solids, cast.paint))
    groups = [scenery.Things(*flat), *cast.things, behind, before]
    solids, paint = jax.tree.map(lambda *arrays: jnp.concatenate(arrays), *groups)
    depth = 0.5 * (solids.start[:, 2] + solids.end[:, 2])
    solids, paint = jax.tree.map(lambda array: array[jnp.argsort(-depth)], (solids, paint))
    footprints = project(solids, paint.soft, scenery.sample_light(keys[5]))
    canvas = rasterize(background, texture, footprints, paint)
    return scenery.develop(keys[6], canvas.color), canvas


def _push(things: scenery.Things, depth: jax.Array) -> scenery.Things:
    """Moves things away from the camera."""
    away = jnp.stack([0.0 * depth, 0.0 * depth, depth], axis=-1)
    solids = things.solids
    return things._replace(solids=solids._replace(start=solids.start + away, end=solids.end + away))
