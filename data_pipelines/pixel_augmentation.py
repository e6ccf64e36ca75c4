"""Colours and blur: one matrix a pixel, one filter. A sample is a pure function of its key.

References:
    Chen et al., A simple framework for contrastive learning of visual representations (SimCLR),
    ICML 2020, appendix A: brightness, contrast, saturation, hue, and blur with its range. They
    change the hue in HSV and cut off after each change; here the hue is turned in YIQ, so that all
    four are one matrix, and what leaves 0..255 is cut off once.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from data_pipelines.augmentation import numbers_of
from data_pipelines.config import PixelConfig

_PIXEL_STREAM = 3  # tells these random numbers from all others
_YIQ = np.array(  # of RGB; the NTSC's colour space
    [[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]]
)


def change_pixels(image: np.ndarray, config: PixelConfig, key: tuple[int, ...]) -> None:
    """Changes an image as a key has it, in place.

    Args:
        image: uint8 [H, W, 3], RGB.
        config: the ranges.
        key: whole numbers, such as (seed, epoch, index).
    """
    if config == PixelConfig():
        return
    random = numbers_of((_PIXEL_STREAM, *key), 6)
    factors = [
        1 + reach * (2 * number - 1)
        for reach, number in zip(
            (config.brightness, config.contrast, config.saturation), random, strict=False
        )
    ]
    turn = 2 * math.pi * config.hue * (2 * random[3] - 1)
    if factors != [1, 1, 1] or turn:
        matrix = colour_matrix(factors, turn, float(_YIQ[0] @ cv2.mean(image)[:3]))
        image[:] = cv2.transform(image, matrix)
    if random[4] < config.blur:
        low, high = config.blur_sigma
        image[:] = cv2.GaussianBlur(image, (0, 0), low + (high - low) * random[5])


def colour_matrix(factors: Sequence[float], turn: float, mean: float) -> np.ndarray:
    """The matrix of all changes of colour.

    Args:
        factors: of brightness, contrast (about the image's mean grey) and saturation.
        turn: of the hue, radians.
        mean: the image's mean grey.

    Returns:
        float64 [3, 4]: what R, G, B and 1 are multiplied by.
    """
    brightness, contrast, saturation = factors
    sine, cosine = saturation * math.sin(turn), saturation * math.cos(turn)
    chroma = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    linear = brightness * contrast * np.linalg.inv(_YIQ) @ chroma @ _YIQ
    return np.c_[linear, np.full(3, brightness * (1 - contrast) * mean)]
