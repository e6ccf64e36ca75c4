"""The paper's augmentation: scale, rotation, translation, mirror; sampled without state, one warp.

A sample is a pure function of (seed, epoch, index). Pixels go through OpenCV once, from the decoded
image straight to the input of the network, as in the reference; coordinates through the same
matrix in double precision. NumPy and OpenCV: tf.data maps the functions over steps (`tf_stream`).

Legend for shapes: H and W the image's size, P people, K keypoints, S the side of the output.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_pipelines.config import AugmentationConfig

_REFERENCE_SIDE = 200.0  # pixels of the person that the reference measures scales and shifts by


class Augmentation(NamedTuple):
    """One sample; the defaults give the image's central square of its short side.

    Attributes:
        scale: side of the square that fills the output, as a multiple of the image's short side.
        rotation_deg: positive turns the output's content counterclockwise.
        translation_px: (x, y) from the image's centre to the square's, in image pixels.
        mirrored: whether left and right are exchanged, after everything else.
    """

    scale: float = 1.0
    rotation_deg: float = 0.0
    translation_px: tuple[int, int] = (0, 0)
    mirrored: bool = False


def sample_augmentation(
    config: AugmentationConfig, height: int, width: int, random: Sequence[float]
) -> Augmentation:
    """Turns random numbers into an augmentation.

    Args:
        config: the ranges.
        height: of the image, pixels.
        width: of the image, pixels.
        random: five numbers in [0, 1), as `random_numbers` gives them.

    References:
        Section 4.1 of the paper; its released code for the order and the units.
    """
    low, high = config.scale
    scale = low + (high - low) * random[0]
    reach = int(config.translation_px * scale * min(height, width) / _REFERENCE_SIDE)
    return Augmentation(
        scale=scale,
        rotation_deg=config.rotation_deg * (2 * random[1] - 1),
        translation_px=(
            math.floor(random[2] * (2 * reach + 1)) - reach,
            math.floor(random[3] * (2 * reach + 1)) - reach,
        ),
        mirrored=random[4] < config.flip_probability,
    )


def random_numbers(seed: int, epoch: int, index: int) -> list[float]:
    """Five numbers, uniform in [0, 1), that belong to record `index` in `epoch`.

    Only the generator's raw numbers are used: NumPy keeps these the same from version to version.
    """
    return numbers_of((_AUGMENTATION_STREAM, seed, epoch, index), 5)


def numbers_of(key: tuple[int, ...], count: int) -> list[float]:
    """So many numbers, uniform in [0, 1), that belong to a key."""
    return np.random.default_rng(key).random(count).tolist()


_AUGMENTATION_STREAM = 1  # tells these numbers from those that order the records


def affine_matrix(augmentation: Augmentation, height: int, width: int, size: int) -> np.ndarray:
    """The map from image pixels to output pixels, before mirroring.

    Returns:
        float64 [2, 3]; it takes a square of the image to the whole of a `size` x `size` output.
    """
    zoom = size / (augmentation.scale * min(height, width))
    angle = math.radians(augmentation.rotation_deg)
    sine, cosine = zoom * math.sin(angle), zoom * math.cos(angle)
    centre_x = width / 2 + augmentation.translation_px[0]
    centre_y = height / 2 + augmentation.translation_px[1]
    return np.array(
        [
            [cosine, sine, size / 2 - cosine * centre_x - sine * centre_y],
            [-sine, cosine, size / 2 + sine * centre_x - cosine * centre_y],
        ]
    )


def warp_image(
    image: np.ndarray, augmentation: Augmentation, size: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Warps an image, bilinear, black outside.

    Args:
        image: uint8 [H, W, 3] or [H, W].
        augmentation: what to do.
        size: side of the output, pixels.
        out: where to write, instead of new memory; uint8 [S, S, 3] or [S, S], contiguous.

    Returns:
        uint8 [S, S, 3] or [S, S].
    """
    matrix = affine_matrix(augmentation, image.shape[0], image.shape[1], size)
    if not augmentation.mirrored:
        return cv2.warpAffine(image, matrix, (size, size), dst=out)
    # Mirroring after the warp, not through the matrix: OpenCV rounds positions to 1/32 pixel, and
    # the reference's pixels are wanted to the last grey level.
    return cv2.flip(cv2.warpAffine(image, matrix, (size, size)), 1, dst=out)


def warp_mask(mask: np.ndarray, augmentation: Augmentation, size: int) -> np.ndarray:
    """Warps a 0/1 mask, uint8 [H, W] -> uint8 [S, S]; 0 outside, 1 from one half on."""
    return (warp_image(mask * np.uint8(255), augmentation, size) > 127).astype(np.uint8)


def warp_keypoints(
    keypoints: np.ndarray,
    augmentation: Augmentation,
    height: int,
    width: int,
    size: int,
    mirror_permutation: Sequence[int],
) -> np.ndarray:
    """Takes keypoints to where `warp_image` takes their pixels.

    Args:
        keypoints: [P, K, 3] (x, y, v), image pixels.
        augmentation: what to do.
        height: of the image.
        width: of the image.
        size: side of the output, pixels.
        mirror_permutation: `Skeleton.mirror_permutation`.

    Returns:
        float64 [P, K, 3], output pixels; v as it was, also outside of the output.
    """
    matrix = affine_matrix(augmentation, height, width, size)
    warped = keypoints.astype(np.float64)
    warped[..., :2] = warped[..., :2] @ matrix[:, :2].T + matrix[:, 2]
    if augmentation.mirrored:
        warped = warped[:, list(mirror_permutation)]
        warped[..., 0] = size - 1 - warped[..., 0]
    return warped


def warp_area(
    area: np.ndarray, augmentation: Augmentation, height: int, width: int, size: int
) -> np.ndarray:
    """Areas in image pixels -> areas in pixels of an output with side `size`, float64."""
    zoom = size / (augmentation.scale * min(height, width))
    return area.astype(np.float64) * zoom**2


def squared_reach(keypoints: np.ndarray) -> np.ndarray:
    """How far people reach from the image's first pixel, squared; `warp_area` takes it along.

    Args:
        keypoints: [P, K, 3] (x, y, v), image pixels.

    Returns:
        float64 [P]: of the lower right corner of the labelled keypoints' box; 0 without any.
    """
    labelled = keypoints[..., 2:] > 0
    corner = np.where(labelled, keypoints[..., :2], 0).max(axis=1)
    return (corner.astype(np.float64) ** 2).sum(axis=-1)


def warp_corners(
    boxes: np.ndarray, augmentation: Augmentation, height: int, width: int, size: int
) -> np.ndarray:
    """The corners of boxes, taken to where `warp_image` takes their pixels.

    Args:
        boxes: [P, 4], x, y, width and height, image pixels.
        augmentation: what to do.
        height: of the image.
        width: of the image.
        size: side of the output, pixels.

    Returns:
        float64 [P, 4, 2], output pixels: top left, top right, bottom left, bottom right of the box
        as it stood before the rotation, left and right as they are after mirroring.
    """
    matrix = affine_matrix(augmentation, height, width, size)
    warped = box_corners(boxes) @ matrix[:, :2].T + matrix[:, 2]
    if augmentation.mirrored:
        warped = warped[:, [1, 0, 3, 2]]
        warped[..., 0] = size - 1 - warped[..., 0]
    return warped


def box_corners(boxes: np.ndarray) -> np.ndarray:
    """Boxes [P, 4] (x, y, w, h) -> top left, top right, bottom left, bottom right [P, 4, 2]."""
    x, y, across, down = boxes.astype(np.float64).T
    corners = np.stack([x, y, x + across, y, x, y + down, x + across, y + down], axis=-1)
    return corners.reshape(-1, 4, 2)
