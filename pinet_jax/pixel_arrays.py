"""A user's arrays, checked: images are uint8 RGB and nothing else, boxes five numbers each.

Legend for shapes: H rows, W columns, M boxes.
"""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from pinet_jax.errors import InputError

_WANTED = "give uint8 RGB of 0..255, [H, W, 3]"


def rgb_pixels(image: Any) -> np.ndarray:
    """An image as networks take it.

    Args:
        image: uint8 [H, W, 3]; also grey [H, W] or [H, W, 1], which is repeated, and RGBA
            [H, W, 4], which is laid over white, as in files.

    Returns:
        uint8 [H, W, 3].

    Raises:
        InputError: it is no array of these, or has no pixels. Other types are not converted:
            whether a float's white is 1 or 255, nobody can tell.
    """
    if not isinstance(image, np.ndarray | jax.Array):
        raise InputError(f"an image is a {type(image).__name__}, no array; {_WANTED}")
    pixels = np.ascontiguousarray(image)
    if pixels.dtype != np.uint8:
        raise InputError(f"an image is {pixels.dtype} {list(pixels.shape)}; {_WANTED}")
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4) and pixels.shape[2] not in (1, 3, 4):
        raise InputError(f"an image is {list(pixels.shape)}, channels first; {_WANTED}")
    if pixels.ndim != 3 or pixels.shape[2] not in (1, 3, 4) or 0 in pixels.shape:
        raise InputError(f"an image is {list(np.shape(image))}; {_WANTED}")
    if pixels.shape[2] == 4:
        return _over_white(pixels)
    return pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, axis=2)


def _over_white(rgba: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 4] -> [H, W, 3]."""
    color, alpha = rgba[..., :3].astype(np.uint32), rgba[..., 3:].astype(np.uint32)
    return ((color * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def checked_boxes(boxes: Any) -> np.ndarray:
    """People's boxes as top-down networks take them, float64 [M, 5].

    Raises:
        InputError: they are no finite numbers of this shape, or one of them has no extent.
    """
    wanted = "give x, y, width, height and score in image pixels, [M, 5]"
    try:
        checked = np.asarray(boxes, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"boxes are no array of numbers; {wanted}") from error
    if checked.size == 0:
        return checked.reshape(0, 5)
    if checked.ndim != 2 or checked.shape[1] != 5:
        raise InputError(f"boxes are {list(checked.shape)}; {wanted}")
    wrong = np.flatnonzero(~np.isfinite(checked).all(axis=1) | (checked[:, 2:4] <= 0).any(axis=1))
    if len(wrong):
        raise InputError(f"box {wrong[0]} is {checked[wrong[0]].tolist()}; {wanted}")
    return checked
