"""Frames: what a network sees, and the map that goes with it.

A frame is uint8 pixels and the affine map from the image. A bottom-up method has one frame an
image, a top-down one a frame a box; poses go back to the image by the frame's own map.

Legend for shapes: B frames of a batch, H x W a frame, N poses, K keypoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import cv2
import jax
import numpy as np

from pinet_jax.errors import InputError

STRIDE = 4  # frame pixels a pixel of backbones' features, and of valid masks

_MOST_ELONGATED = 16  # long side / short side; frames grow with it


class Frame(NamedTuple):
    """One frame on the host.

    Attributes:
        pixels: uint8 [H, W, 3], RGB; one array a test scale.
        matrix: float64 [2, 3], takes (x, y, 1) of the image to (x, y) of the frame at scale 1.
        box: float64 [5], x, y, width, height and score in image pixels; None for whole images.
    """

    pixels: tuple[np.ndarray, ...]
    matrix: np.ndarray
    box: np.ndarray | None = None

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Height and width at every scale; frames of equal shapes share a program."""
        return tuple((pixels.shape[0], pixels.shape[1]) for pixels in self.pixels)


class FrameBatch(NamedTuple):
    """Frames of equal shapes, as a program takes them.

    Attributes:
        pixels: for every test scale uint8 [B, H, W, 3].
        matrix: float32 [B, 2, 3], the frames' maps; those of padding are 0.
    """

    pixels: tuple[jax.Array, ...]
    matrix: jax.Array


def check_proportions(shape: tuple[int, int], name: str) -> None:
    """Refuses a picture, [H, W], without pixels, or many times as long as its short side.

    Raises:
        InputError: with the picture's name.
    """
    height, width = shape
    if min(shape) < 1:
        raise InputError(f"{name}: {width} x {height} pixels, so nothing to see")
    if max(shape) > _MOST_ELONGATED * min(shape):
        raise InputError(
            f"{name}: {width} x {height} pixels are too elongated; crop it to at most "
            f"{_MOST_ELONGATED} : 1"
        )


def stack_frames(frames: Sequence[Frame], size: int) -> FrameBatch:
    """A batch of `size` frames, NumPy arrays; what is missing is black."""

    def stack(arrays: Sequence[np.ndarray]) -> Any:
        stacked = np.stack(arrays)
        return np.pad(stacked, ((0, size - len(arrays)), *[(0, 0)] * (stacked.ndim - 1)))

    return FrameBatch(
        pixels=tuple(map(stack, zip(*(frame.pixels for frame in frames), strict=True))),
        matrix=stack([frame.matrix.astype(np.float32) for frame in frames]),
    )


def restore_points(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] of a frame, in the image's pixels; float64.

    Args:
        points: x and y in pixels of the frame at scale 1.
        matrix: the frame's.
    """
    inverse = cv2.invertAffineTransform(matrix)
    return points @ inverse[:, :2].T + inverse[:, 2]
