"""Poses drawn over pictures.

Legend for shapes: H rows, W columns, N poses, K keypoints.
"""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike

from pinet_jax.skeletons import Skeleton

# Okabe and Ito's set (https://jfly.uni-koeln.de/color/) without its black, the light ones first:
# they are told apart by the colour-blind and stand out from most pictures.
_OKABE_ITO = (
    (86, 180, 233), (230, 159, 0), (0, 158, 115), (240, 228, 66),
    (204, 121, 167), (213, 94, 0), (0, 114, 178),
)  # fmt: skip

_OUTLINE = np.array((20, 20, 20))
_FARTHEST = 1e5  # pixels; far beyond it OpenCV's fixed-point lines go astray
_FAINTEST = 0.2  # opacity of a keypoint of score 0: still to be found by who looks for it
_SUBPIXEL_BITS = 4  # OpenCV draws at 1/16 pixel


def person_color(index: int) -> tuple[int, int, int]:
    """The RGB colour of the pose at `index`: seven clear ones, then lighter and darker ones."""
    red, green, blue = (c / 255 for c in _OKABE_ITO[index % len(_OKABE_ITO)])
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    lightness += (0, 0.18, -0.15)[index // len(_OKABE_ITO) % 3]
    color = colorsys.hls_to_rgb(hue, min(max(lightness, 0.2), 0.85), saturation)
    r, g, b = (round(255 * c) for c in color)
    return r, g, b


def draw_poses(
    image: np.ndarray,
    keypoints: ArrayLike,
    scores: ArrayLike,
    skeleton: Skeleton,
    *,
    score_threshold: float = 0.1,
    solid_score: float = 0.25,
    colors: Sequence[tuple[int, int, int]] | None = None,
) -> np.ndarray:
    """Draws poses over a picture: a colour a person, limbs and points, the best on top.

    The colour goes by a pose's place in the list, so it does not change with the threshold. Lines
    are as thick as the picture and the person allow. Points that are not finite are left out.

    Args:
        image: uint8 [H, W, 3], RGB; not changed.
        keypoints: [N, K, 3], (x, y, score) in image pixels, which may lie outside.
        scores: [N], a pose's own score.
        skeleton: whose edges are the limbs.
        score_threshold: poses below it are left out.
        solid_score: a keypoint of this score or more is drawn solid, one of a lower score fainter
            in proportion; a limb is as faint as its fainter end.
        colors: RGB, of every pose; those of `person_color` if None.

    Returns:
        uint8 [H, W, 3].
    """
    picture = np.array(image, dtype=np.uint8)
    poses = np.asarray(keypoints, np.float64).reshape(-1, skeleton.num_keypoints, 3)
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")[::-1]
    for index in order[np.asarray(scores)[order] >= score_threshold]:
        shown = np.clip(poses[index, :, 2] / solid_score, 0, 1)
        opacity = np.where(
            np.isfinite(poses[index]).all(axis=1), _FAINTEST + (1 - _FAINTEST) * shown, 0
        )
        color = person_color(index) if colors is None else colors[index]
        _draw_pose(picture, poses[index, :, :2], opacity, skeleton.edges, color)
    return picture


def _draw_pose(
    picture: np.ndarray,
    points: np.ndarray,
    opacity: np.ndarray,
    edges: Sequence[tuple[int, int]],
    color: tuple[int, int, int],
) -> None:
    """Draws one pose in place: a dark outline, limbs, then points with a light rim."""
    visible = opacity > 0
    if not visible.any():
        return
    points = points.clip(-_FARTHEST, _FARTHEST)
    extent = np.ptp(points[visible], axis=0).max()
    width = _line_width(picture.shape, extent)
    border = max(1, round(width / 4))
    rim = border if width > 2 else 0  # on thin limbs it would hide the colour

    margin = 2 * (width + border)
    left, top = np.floor(points[visible].min(axis=0) - margin).clip(0).astype(int)
    right, bottom = np.ceil(points[visible].max(axis=0) + margin).clip(0).astype(int)
    window = picture[top:bottom, left:right]
    if not window.size:
        return
    points = np.where(visible[:, None], points - (left, top), 0)

    def layer(limb_width: int, radius: float) -> np.ndarray:
        coverage = np.zeros(window.shape[:2], np.uint8)
        _add_limbs(coverage, points, opacity, edges, limb_width)
        _add_points(coverage, points, opacity, radius)
        return coverage

    _blend(window, 0.6 * layer(width + 2 * border, 0.8 * width + rim + border), _OUTLINE)
    _blend(window, layer(width, 0), np.array(color))
    _blend(window, layer(0, 0.8 * width + rim), np.array((255, 255, 255)))
    _blend(window, layer(0, 0.8 * width), np.array(color))


def _line_width(shape: tuple[int, ...], extent: float) -> int:
    """Pixels; a small person in a large picture is not hidden under thick lines."""
    height, width = shape[:2]
    return max(1, round(min(0.006 * (height * width) ** 0.5, 0.03 * extent)))


def _add_limbs(
    coverage: np.ndarray,
    points: np.ndarray,
    opacity: np.ndarray,
    edges: Sequence[tuple[int, int]],
    width: int,
) -> None:
    """Draws limbs into a uint8 layer, the solid ones last so that the faint do not cut them."""
    if width == 0:
        return
    limbs = sorted((min(opacity[a], opacity[b]), a, b) for a, b in edges)
    for strength, a, b in limbs:
        if strength > 0:
            ends = _fixed_point(points[a]), _fixed_point(points[b])
            cv2.line(coverage, *ends, 255 * strength, width, cv2.LINE_AA, _SUBPIXEL_BITS)


def _add_points(
    coverage: np.ndarray, points: np.ndarray, opacity: np.ndarray, radius: float
) -> None:
    """Draws filled discs into a uint8 layer."""
    if radius == 0:
        return
    for k in np.argsort(opacity, kind="stable"):
        if opacity[k] > 0:
            size = round(radius * 2**_SUBPIXEL_BITS)
            center = _fixed_point(points[k])
            cv2.circle(
                coverage, center, size, 255 * opacity[k], cv2.FILLED, cv2.LINE_AA, _SUBPIXEL_BITS
            )


def _fixed_point(point: np.ndarray) -> tuple[int, int]:
    x, y = np.rint(point * 2**_SUBPIXEL_BITS).astype(int)
    return int(x), int(y)


def _blend(window: np.ndarray, coverage: np.ndarray, color: np.ndarray) -> None:
    """Lays a colour over [H, W, 3] in place, as far as a layer [H, W] of 0..255 covers it."""
    rows, columns = coverage.nonzero()  # a pose covers little of its window
    alpha = coverage[rows, columns, None] / 255
    mixed = (1 - alpha) * window[rows, columns] + alpha * color
    window[rows, columns] = np.rint(mixed).astype(np.uint8)
