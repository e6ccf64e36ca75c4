"""The top-down methods' augmentation: half a body, scale, rotation, mirror; of one person's crop.

A draw is a pure function of (seed, epoch, index), as in `augmentation.py`.

Legend for shapes: K keypoints, H and W the crop's size.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np

from data_pipelines.config import PersonAugmentationConfig
from pinet_jax import boxes
from pinet_jax.boxes import CropRegion
from pinet_jax.skeletons import Skeleton

_AUGMENTATION_STREAM = 2  # tells these random numbers from all others
_LOWER_BODY = ("hip", "knee", "ankle")  # in the names of keypoints


class Draw(NamedTuple):
    """One draw: what is uniform lies in [0, 1), what is normal has standard deviation 1."""

    half_body: float  # uniform
    upper_body: float  # normal
    scale: float  # normal
    rotate: float  # uniform
    rotation: float  # normal
    flip: float  # uniform


class AugmentedCrop(NamedTuple):
    """How a person is shown.

    Attributes:
        region: of the image, mirrored if so.
        rotation_deg: positive turns the content counterclockwise.
        mirrored: whether the image is mirrored, before anything else.
    """

    region: CropRegion
    rotation_deg: float
    mirrored: bool

    def zoom(self, shape: tuple[int, int]) -> float:
        """Crop pixels an image pixel, for a crop of H and W."""
        return shape[1] / (float(self.region.scale[0]) * boxes.UNIT)


def draw(seed: int, epoch: int, index: int) -> Draw:
    """The draw that belongs to person `index` in `epoch`.

    Only uniform numbers are taken from the generator: NumPy keeps these the same from version to
    version.
    """
    uniform = np.random.default_rng((_AUGMENTATION_STREAM, seed, epoch, index)).random(6).tolist()
    tiny = 2.0**-53  # the generator may give 0, which no normal number belongs to
    normal = [statistics.NormalDist().inv_cdf(max(number, tiny)) for number in uniform]
    return Draw(uniform[0], normal[1], normal[2], uniform[3], normal[4], uniform[5])


def augment(
    config: PersonAugmentationConfig,
    region: CropRegion,
    keypoints: np.ndarray,
    drawn: Draw,
    skeleton: Skeleton,
    shape: tuple[int, int],
    image_width: int,
) -> AugmentedCrop:
    """What a draw makes of a person.

    Args:
        config: the ranges.
        region: the person's own.
        keypoints: [K, 3] (x, y, v), image pixels.
        drawn: the random numbers.
        skeleton: of the keypoints.
        shape: H and W.
        image_width: pixels.

    References:
        The released code of top-down HRNet, for the order and the distributions.
    """
    labelled = keypoints[:, 2] > 0
    enough = labelled.sum() >= config.half_body_keypoints
    if enough and drawn.half_body < config.half_body_probability:
        region = _half_body(keypoints, drawn.upper_body, skeleton, shape) or region
    factor = np.clip(1 + config.scale * drawn.scale, 1 - config.scale, 1 + config.scale)
    rotation = 0.0
    if drawn.rotate <= config.rotation_probability:
        most = 2 * config.rotation_deg
        rotation = float(np.clip(config.rotation_deg * drawn.rotation, -most, most))
    center, mirrored = region.center.copy(), drawn.flip <= config.flip_probability
    if mirrored:
        center[0] = image_width - 1 - center[0]
    return AugmentedCrop(CropRegion(center, region.scale * factor), rotation, bool(mirrored))


def _half_body(
    keypoints: np.ndarray, side: float, skeleton: Skeleton, shape: tuple[int, int]
) -> CropRegion | None:
    """The region of a person's upper or lower half; None where too little of it is labelled."""
    is_lower = np.array([any(w in name for w in _LOWER_BODY) for name in skeleton.keypoints])
    labelled, points = keypoints[:, 2] > 0, keypoints[:, :2].astype(np.float32)
    upper, lower = points[labelled & ~is_lower], points[labelled & is_lower]
    # A normal number is below 0.5 in 69 of 100 cases: the released code's, not one half.
    chosen = upper if (side < 0.5 and len(upper) > 2) or len(lower) <= 2 else lower
    if len(chosen) < 2:
        return None
    region = boxes.tight_region(chosen, shape)
    return region._replace(center=chosen.mean(axis=0))


def warp_person(image: np.ndarray, crop: AugmentedCrop, shape: tuple[int, int]) -> np.ndarray:
    """The crop's pixels: uint8 [H, W, 3]."""
    # Mirrored before the warp, not through the matrix: OpenCV rounds positions to 1/32 pixel.
    image = cv2.flip(image, 1) if crop.mirrored else image
    affine = boxes.affine_of_region(crop.region, shape, crop.rotation_deg)
    return boxes.crop(image, affine, shape)


def warp_keypoints(
    keypoints: np.ndarray,
    crop: AugmentedCrop,
    shape: tuple[int, int],
    image_width: int,
    mirror_permutation: Sequence[int],
) -> np.ndarray:
    """Takes keypoints to where `warp_person` takes their pixels.

    Args:
        keypoints: [K, 3] (x, y, v), image pixels.
        crop: how the person is shown.
        shape: H and W.
        image_width: pixels.
        mirror_permutation: `Skeleton.mirror_permutation`.

    Returns:
        float64 [K, 3], crop pixels; v as it was, also outside of the crop.
    """
    warped = keypoints.astype(np.float64)
    if crop.mirrored:
        warped = warped[list(mirror_permutation)]
        warped[:, 0] = image_width - 1 - warped[:, 0]
    affine = boxes.affine_of_region(crop.region, shape, crop.rotation_deg)
    warped[:, :2] = warped[:, :2] @ affine[:, :2].T + affine[:, 2]
    return warped
