"""The reference's test-time geometry: an image becomes a frame.

Runs on the host, with OpenCV, because the reference's pixels are OpenCV's.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from pinet_jax.frames import Frame

_MULTIPLE = 64


def resized_shape(height: int, width: int, input_size: int) -> tuple[int, int]:
    """The size of an image's frame at scale 1, which decides what images share a batch.

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


def resize_matrix(image_shape: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """The affine map of `resize`, float64 [2, 3], from image pixels to the frame's.

    Args:
        image_shape: height and width of the image.
        shape: height and width of the frame, a multiple of `resized_shape`'s.
    """
    return cv2.getAffineTransform(*_corners(image_shape, shape))


def resize(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Warps an image into a frame, keeping its proportions about its centre.

    Args:
        image: uint8 [H, W, 3].
        shape: height and width of the frame, a multiple of `resized_shape`'s.

    Returns:
        uint8 [*shape, 3].
    """
    matrix = resize_matrix((image.shape[0], image.shape[1]), shape)
    return cv2.warpAffine(image, matrix, shape[::-1])


def resized_frame(image: np.ndarray, shapes: Sequence[tuple[int, int]], first: int = 0) -> Frame:
    """The whole image as a frame.

    Args:
        image: uint8 [H, W, 3].
        shapes: height and width at every test scale.
        first: the place of scale 1 among them, in whose pixels poses are given.
    """
    matrix = resize_matrix((image.shape[0], image.shape[1]), shapes[first])
    return Frame(tuple(resize(image, shape) for shape in shapes), matrix)


def _corners(image_shape: tuple[int, int], shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Three points of the image, and where they go in the frame."""
    height, width = image_shape
    center = [int(width / 2 + 0.5), int(height / 2 + 0.5)]
    # The image's side that fits the input exactly is the short one. All rounding is as in the
    # reference, whose sides are in units of 200 pixels: otherwise single pixels differ by a level.
    side = width / 200 if width < height else shape[1] / shape[0] * height / 200
    source = _three_points(center, side * 200)
    return source, _three_points([shape[1] * 0.5, shape[0] * 0.5], shape[1])


def _three_points(center: Sequence[float], width: float) -> np.ndarray:
    """A centre, the point half a width above it, and the one half a width left of that."""
    points = np.zeros((3, 2), np.float32)
    points[0] = center
    points[1] = center + np.array([0, width * -0.5])
    points[2] = points[1] - np.array([points[0, 1] - points[1, 1], 0], np.float32)
    return points
