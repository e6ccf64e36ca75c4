"""The reference's test-time geometry: an image becomes the network's input, and poses go back.

Runs on the host, with OpenCV, because the reference's pixels are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

_MULTIPLE = 64


def resized_shape(height: int, width: int, input_size: int) -> tuple[int, int]:
    """The size of the network's input at scale 1, which decides what images share a batch.

    Args:
        height: of the image.
        width: of the image.
        input_size: of the short side, rounded up to a multiple of 64.

    Returns:
        Height and width, multiples of 64.
    """
    short = -(-input_size // _MULTIPLE) * _MULTIPLE
    # In the reference's order of floating-point operations: + 63, not a ceiling, so that a size
    # less than one pixel above a multiple stays there.
    long = int((short / min(height, width) * max(height, width) + _MULTIPLE - 1) // _MULTIPLE)
    long *= _MULTIPLE
    return (long, short) if width < height else (short, long)


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warps an image into the network's input, keeping its proportions about its centre.

    Args:
        image: uint8 [H, W, 3].
        shape: height and width of the input, a multiple of `resized_shape`'s.

    Returns:
        uint8 [*shape, 3].
    """
    source, target = _corners(image.shape[:2], shape)
    return cv2.warpAffine(image, cv2.getAffineTransform(source, target), shape[::-1])


def restore_points(
    points: np.ndarray, shape: tuple[int, int], image_shape: tuple[int, int]
) -> np.ndarray:
    """Points of a resized input, in the image's pixels.

    Args:
        points: [..., 2], x and y in the input's pixels.
        shape: height and width of the input.
        image_shape: height and width of the image.

    Returns:
        [..., 2], float64.
    """
    source, target = _corners(image_shape, shape)
    matrix = cv2.getAffineTransform(target, source)
    return points @ matrix[:, :2].T + matrix[:, 2]


def _corners(image_shape: tuple[int, ...], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Three points of the image, and where they go."""
    height, width = image_shape
    center = [int(width / 2 + 0.5), int(height / 2 + 0.5)]
    # The image's side that fits the input exactly is the short one. All rounding is as in the
    # reference, whose sides are in units of 200 pixels: otherwise single pixels differ by a level.
    side = width / 200 if width < height else shape[1] / shape[0] * height / 200
    source = _frame(center, side * 200)
    return source, _frame([shape[1] * 0.5, shape[0] * 0.5], shape[1])


def _frame(center: Sequence[float], width: float) -> np.ndarray:
    """A centre, the point half a width above it, and the one half a width left of that."""
    points = np.zeros((3, 2), np.float32)
    points[0] = center
    points[1] = center + np.array([0, width * -0.5])
    points[2] = points[1] - np.array([points[0, 1] - points[1, 1], 0], np.float32)
    return points
