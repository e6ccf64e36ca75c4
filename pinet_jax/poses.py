"""Poses: padded sets on the device, and those of one image on the host."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import numpy as np


class PoseSet(NamedTuple):
    """Poses on the device, padded to a static number N.

    Attributes:
        keypoints: float32 [..., N, K, 3], x, y and score.
        scores: float32 [..., N], of whole poses.
        mask: bool [..., N], False for padding.
    """

    keypoints: jax.Array
    scores: jax.Array
    mask: jax.Array


@dataclasses.dataclass(frozen=True)
class Poses:
    """The poses of one image on the host, best first.

    Attributes:
        keypoints: float32 [N, K, 3], x and y in the image's pixels, and score.
        scores: float32 [N].
    """

    keypoints: np.ndarray
    scores: np.ndarray
