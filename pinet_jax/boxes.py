"""People's boxes and the crops that top-down networks see, on the host.

Legend for shapes: N points, H and W a crop's size.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import cv2
import numpy as np

_PADDING = 1.25  # of a detected or annotated box
_TIGHT_PADDING = 1.5  # of the extent of keypoints, which ends at the joints
UNIT = 200.0  # pixels; the released code measures crops in it


class CropRegion(NamedTuple):
    """A part of an image with a crop's proportions.

    Of a box it is float32, after augmentation float64, as in the released code: otherwise single
    grey levels of crops differ.

    Attributes:
        center: [2], x and y in image pixels.
        scale: [2], width and height in units of 200 image pixels.
    """

    center: np.ndarray
    scale: np.ndarray


def clean_box(box: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """An annotated box as the released code takes it: clipped, and a pixel narrower.

    Args:
        box: [4] (x, y, width, height), image pixels.
        height: of the image.
        width: of the image.

    Returns:
        float64 [4]; None where nothing of it is in the image.
    """
    x, y, box_width, box_height = (float(value) for value in box)
    left, top = max(0.0, x), max(0.0, y)
    right = min(width - 1.0, left + max(0.0, box_width - 1))
    bottom = min(height - 1.0, top + max(0.0, box_height - 1))
    if right < left or bottom < top:
        return None
    return np.array([left, top, right - left, bottom - top])


def usable_box(box: np.ndarray, height: int, width: int) -> np.ndarray | None:
    """The same as `clean_box`, and None also where it leaves no extent, as of a box of a pixel."""
    clean = clean_box(box, height, width)
    return None if clean is None or not clean[2:].any() else clean


def crop_region(
    box: np.ndarray, shape: tuple[int, int], *, padding: float = _PADDING
) -> CropRegion:
    """What of the image is shown for a box: its centre, and its size made larger.

    Args:
        box: [4] (x, y, width, height), image pixels.
        shape: H and W of the crop; the box's shorter direction grows to their proportions.
        padding: factor on the size after that.
    """
    aspect = shape[1] / shape[0]
    center = np.array([box[0] + box[2] * 0.5, box[1] + box[3] * 0.5], np.float32)
    width, height = max(box[2], aspect * box[3]), max(box[3], box[2] / aspect)
    scale = np.array([width / UNIT, height / UNIT], np.float32) * np.float32(padding)
    return CropRegion(center, scale)


def tight_region(points: np.ndarray, shape: tuple[int, int]) -> CropRegion:
    """What of the image is shown for a person of whom only keypoints are known.

    Args:
        points: [N, 2], x and y in image pixels.
        shape: H and W of the crop.

    References:
        The half-body crops of the released code of top-down HRNet.
    """
    low, high = points.min(axis=0), points.max(axis=0)
    return crop_region(np.concatenate([low, high - low]), shape, padding=_TIGHT_PADDING)


def affine_of_region(
    region: CropRegion, shape: tuple[int, int], rotation_deg: float = 0.0
) -> np.ndarray:
    """The map from image pixels to crop pixels; the region's width fills the crop's.

    Args:
        region: what is shown.
        shape: H and W of the crop.
        rotation_deg: positive turns the crop's content counterclockwise.

    Returns:
        float64 [2, 3].
    """
    height, width = shape
    angle = math.radians(rotation_deg)
    # Three points in float32, as the released code has them; the closed form differs by a
    # ten-millionth, and by single grey levels of a crop.
    up = float(region.scale[0] * UNIT) / 2 * np.array([math.sin(angle), -math.cos(angle)])
    source = _corner(region.center, up)
    target = _corner(np.array([width * 0.5, height * 0.5]), np.array([0.0, width * -0.5]))
    return cv2.getAffineTransform(source, target)


def _corner(center: np.ndarray, up: np.ndarray) -> np.ndarray:
    """A centre, the point above it, and one as far left of that; float32 [3, 2]."""
    points = np.zeros((3, 2), np.float32)
    points[0] = center
    points[1] = center + up
    step = points[0] - points[1]
    points[2] = points[1] + np.array([-step[1], step[0]], np.float32)
    return points


def crop(image: np.ndarray, affine: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """The crop's pixels, bilinear, black outside of the image: uint8 [H, W, 3]."""
    return cv2.warpAffine(image, affine, (shape[1], shape[0]))
