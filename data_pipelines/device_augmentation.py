"""Augmentation where the network trains: pure functions of a random key, no host between steps.

For photographs that the device's memory holds whole (`packs`). The paper's augmentation is in
`augmentation`; this one adds what a few thousand photographs need.

Legend for shapes: L the side of stored images, S the side of a frame, P people (padded), K
keypoints, R ignored regions (padded), M = S / 4 the side of the maps.

References:
    Colour, blur and noise: Buslaev et al., Albumentations, 2020. Random erasing: Zhong et al.,
    AAAI 2020; here keypoints behind the rectangle stay labelled, as hidden ones.
"""

from __future__ import annotations

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.frames import STRIDE
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class DeviceAugmentationConfig:
    """The ranges of the random changes."""

    size: int = 320  # S, pixels
    scale: tuple[float, float] = (0.7, 2.2)  # long side of the image in the frame / S; log-uniform
    rotation_deg: float = 13.0  # standard deviation, cut at twice of it
    shift: float = 0.1  # of S, to both sides
    about_person: float = 0.6  # share of frames about a person, where the image is larger than S
    brightness: float = 0.3  # all four: a factor of 1 +- this
    contrast: float = 0.3
    saturation: float = 0.4
    channel_deviation: float = 0.06  # of each channel's own factor, normal
    grey: float = 0.08  # share of frames without colour
    blur: float = 0.15  # share of blurred frames
    noise: float = 6.0  # greatest standard deviation, grey levels
    erased: float = 0.35  # share of frames with an erased rectangle
    erased_side: tuple[float, float] = (0.1, 0.45)  # of S


class Photograph(NamedTuple):
    """A stored image and its labels, in stored pixels.

    Attributes:
        image: uint8 [L, L, 3], the image in its upper left corner.
        size: float32 [2], height and width.
        keypoints: float32 [P, K, 3] (x, y, v).
        boxes: float32 [P, 4] (x, y, w, h) of the labelled people.
        ignored: float32 [R, 4], where people have no labels.
        partial: bool, whether an unlabelled keypoint of a labelled person may be there all the
            same.
    """

    image: jax.Array
    size: jax.Array
    keypoints: jax.Array
    boxes: jax.Array
    ignored: jax.Array
    partial: jax.Array


class Affine(NamedTuple):
    """frame = matrix @ (image - centre) + offset."""

    matrix: jax.Array  # [2, 2]
    centre: jax.Array  # [2], x and y
    offset: jax.Array  # [2]

    def __call__(self, points: jax.Array) -> jax.Array:
        """Points [..., 2] of the image, in the frame."""
        return _add(_multiply(self.matrix, _add(points, -self.centre)), self.offset)

    def inverse(self, points: jax.Array) -> jax.Array:
        """Points [..., 2] of the frame, in the image."""
        moved = _multiply(jnp.linalg.inv(self.matrix), _add(points, -self.offset))
        return _add(moved, self.centre)


def _add(points: jax.Array, step: jax.Array) -> jax.Array:
    return points + step.reshape((1,) * (points.ndim - 1) + (2,))


def _multiply(matrix: jax.Array, points: jax.Array) -> jax.Array:
    x, y = points[..., 0], points[..., 1]
    rows = [matrix[i, 0] * x + matrix[i, 1] * y for i in range(2)]
    return jnp.stack(rows, axis=-1)


def augment(
    key: jax.Array, photo: Photograph, config: DeviceAugmentationConfig, skeleton: Skeleton
) -> dict[str, jax.Array]:
    """A training frame of a photograph; `jax.vmap` makes a batch.

    Args:
        key: random key.
        photo: the photograph.
        config: the ranges.
        skeleton: its keypoints.

    Returns:
        image uint8 [S, S, 3], keypoints float32 [P, K, 3] in frame pixels, area float32 [P],
        valid_mask uint8 [M, M] (0 outside the photograph), and background bool [M, M, K + 1]: see
        `targets.only_known_background`.
    """
    for_geometry, for_colours, for_erasing = jax.random.split(key, 3)
    affine, scale, mirrored = _draw_geometry(for_geometry, photo, config)
    image = _read_bilinear(photo, affine.inverse(_grid(config.size)))
    image = _erase(for_erasing, _change_colours(for_colours, image, config), config)
    swapped = photo.keypoints[:, np.asarray(skeleton.mirror_permutation)]
    keypoints = jnp.where(mirrored, swapped, photo.keypoints)
    labelled = keypoints[..., 2:] > 0
    points = jnp.concatenate([affine(keypoints[..., :2]), keypoints[..., 2:]], axis=-1)
    places = affine.inverse(_grid(config.size // STRIDE) * STRIDE)  # [M, M, 2]
    inside = ((places >= 0) & (places < photo.size[None, None, ::-1])).all(axis=-1)
    return {
        "image": jnp.clip(jnp.round(image), 0, 255).astype(jnp.uint8),
        "keypoints": jnp.where(labelled, points, 0.0),
        "area": photo.boxes[:, 2] * photo.boxes[:, 3] * scale**2,
        "valid_mask": inside.astype(jnp.uint8),
        "background": _known_background(places, photo, labelled[..., 0]),
    }


def _draw_geometry(
    key: jax.Array, photo: Photograph, config: DeviceAugmentationConfig
) -> tuple[Affine, jax.Array, jax.Array]:
    """The map to the frame, its scale, and whether it mirrors."""
    keys = iter(jax.random.split(key, 8))
    low, high = (math.log(x) for x in config.scale)
    scale = jnp.exp(jax.random.uniform(next(keys), minval=low, maxval=high))
    scale = scale * config.size / photo.size.max()
    turn = jnp.clip(jax.random.normal(next(keys)), -2, 2) * math.radians(config.rotation_deg)
    mirrored = jax.random.bernoulli(next(keys))
    extent = photo.size[::-1] * scale  # [2], x and y
    wander = jax.random.uniform(next(keys), (2,), minval=-1, maxval=1)
    shift = config.shift * jax.random.uniform(next(keys), (2,), minval=-1, maxval=1)
    offset = (wander * jnp.abs(extent - config.size) + config.size) / 2 + config.size * shift
    # Of a large image most random frames would show nobody.
    about, exists = _place_on_a_person(next(keys), photo)
    large = extent.max() > 1.15 * config.size
    chosen = exists & large & jax.random.bernoulli(next(keys), config.about_person)
    centre = jnp.where(chosen, about, photo.size[::-1] / 2)
    offset = jnp.where(chosen, config.size * (0.5 + 0.25 * wander), offset)
    cos, sin = jnp.cos(turn), jnp.sin(turn)
    matrix = scale * jnp.array([[cos, -sin], [sin, cos]])
    matrix = jnp.where(mirrored, matrix * jnp.array([[-1.0, 1.0]]), matrix)
    return Affine(matrix, centre, offset), scale, mirrored


def _place_on_a_person(key: jax.Array, photo: Photograph) -> tuple[jax.Array, jax.Array]:
    """A random place [2] in the box of a random labelled person, and whether there is one."""
    for_person, for_place = jax.random.split(key)
    exists = (photo.keypoints[..., 2] > 0).any(axis=-1)  # [P]
    person = jax.random.categorical(for_person, jnp.where(exists, 0.0, -jnp.inf))
    box = photo.boxes[jnp.where(exists.any(), person, 0)]
    place = jax.random.uniform(for_place, (2,), minval=0.1, maxval=0.9)
    return box[:2] + place * box[2:], exists.any()


def _grid(size: int) -> jax.Array:
    """x and y of every pixel, [size, size, 2]."""
    x, y = jnp.meshgrid(jnp.arange(size), jnp.arange(size))
    return jnp.stack([x, y], axis=-1).astype(jnp.float32)


def _read_bilinear(photo: Photograph, points: jax.Array) -> jax.Array:
    """The photograph's colours at points [S, S, 2]; black outside of it."""
    corner = jnp.floor(points)
    fx, fy = (points - corner)[..., 0], (points - corner)[..., 1]
    x, y = corner[..., 0].astype(jnp.int32), corner[..., 1].astype(jnp.int32)
    height, width = photo.size.astype(jnp.int32)
    last = photo.image.shape[0] - 1

    def at(dy: int, dx: int, weight: jax.Array) -> jax.Array:
        inside = (x + dx >= 0) & (x + dx < width) & (y + dy >= 0) & (y + dy < height)
        values = photo.image[jnp.clip(y + dy, 0, last), jnp.clip(x + dx, 0, last)]
        return values.astype(jnp.float32) * jnp.where(inside, weight, 0.0)[..., None]

    upper = at(0, 0, (1 - fx) * (1 - fy)) + at(0, 1, fx * (1 - fy))
    return upper + at(1, 0, (1 - fx) * fy) + at(1, 1, fx * fy)


def _change_colours(
    key: jax.Array, image: jax.Array, config: DeviceAugmentationConfig
) -> jax.Array:
    """Saturation, contrast, brightness, colour cast, blur and noise, on [S, S, 3] in 0..255."""
    keys = iter(jax.random.split(key, 8))

    def factor(reach: float) -> jax.Array:
        return jax.random.uniform(next(keys), minval=1 - reach, maxval=1 + reach)

    luma = (image * np.array([[[0.299, 0.587, 0.114]]], np.float32)).sum(axis=-1, keepdims=True)
    colourless = jax.random.bernoulli(next(keys), config.grey)
    image = luma + (image - luma) * jnp.where(colourless, 0.0, factor(config.saturation))
    mean = luma.mean()
    image = (mean + (image - mean) * factor(config.contrast)) * factor(config.brightness)
    image = image * (1 + config.channel_deviation * jax.random.normal(next(keys), (1, 1, 3)))
    image = jnp.where(jax.random.bernoulli(next(keys), config.blur), _blurred(image), image)
    deviation = config.noise * jax.random.uniform(next(keys))
    return image + deviation * jax.random.normal(next(keys), image.shape)


def _blurred(image: jax.Array) -> jax.Array:
    """Two binomial filters along both axes: a Gaussian of one pixel."""
    for axis in (0, 1, 0, 1):
        neighbours = jnp.roll(image, 1, axis) + jnp.roll(image, -1, axis)
        image = (neighbours + 2 * image) / 4
    return image


def _erase(key: jax.Array, image: jax.Array, config: DeviceAugmentationConfig) -> jax.Array:
    """A rectangle of coloured noise, as something in front would hide what is there."""
    keys = iter(jax.random.split(key, 5))
    low, high = config.erased_side
    sides = config.size * jax.random.uniform(next(keys), (2,), minval=low, maxval=high)
    start = config.size * jax.random.uniform(next(keys), (2,)) - sides / 2
    grid = _grid(config.size)
    after, before = grid >= start[None, None], grid < (start + sides)[None, None]
    inside = (after & before).all(axis=-1, keepdims=True)
    colour = 255 * jax.random.uniform(next(keys), (1, 1, 3))
    noise = colour + 40 * jax.random.normal(next(keys), image.shape)
    return jnp.where(inside & jax.random.bernoulli(next(keys), config.erased), noise, image)


def _known_background(places: jax.Array, photo: Photograph, labelled: jax.Array) -> jax.Array:
    """Where each keypoint, and last any part, is known to be absent: bool [M, M, K + 1].

    It is not known in ignored regions and, where labels are partial, for a person's unlabelled
    keypoints in this person's box.

    Args:
        places: [M, M, 2], the maps' positions in the photograph.
        photo: the photograph.
        labelled: bool [P, K].
    """

    def inside(boxes: jax.Array) -> jax.Array:  # [M, M, number of boxes]
        start, stop = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
        at = places[:, :, None]
        return ((at >= start[None, None]) & (at < stop[None, None])).all(axis=-1)

    ignored = inside(photo.ignored).any(axis=-1, keepdims=True)
    unlabelled = ~labelled & labelled.any(axis=-1, keepdims=True) & photo.partial
    counts = jnp.einsum(
        "yxp,pk->yxk", inside(photo.boxes).astype(jnp.float32), unlabelled.astype(jnp.float32)
    )
    unknown = jnp.pad(counts > 0, ((0, 0), (0, 0), (0, 1)))  # parts are means of what is labelled
    return ~(unknown | ignored)
