"""People whose records are at fault: what is known of where they are.

A network that is told nothing of a person learns that it is background. A crowd region in the
person's place says that nobody knows: it leaves the valid mask, and evaluation ignores it.

Legend for shapes: K keypoints.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from data_pipelines.annotations.json_values import numbers
from data_pipelines.annotations.people import box_of
from data_pipelines.annotations.regions import region_problem
from pinet_jax.skeletons import Skeleton


def region_of(
    record: dict[str, Any], number: int, image: dict[str, Any], category_id: int, skeleton: Skeleton
) -> dict[str, Any]:
    """A crowd region where a person is whose record cannot be used.

    Args:
        record: the person's.
        number: the region's id.
        image: the sound image.
        category_id: that of all people.
        skeleton: of K keypoints.

    Returns:
        A sound annotation, with `left_out`. Its box is the record's, or that of its polygons or
        keypoints, or, where all are broken, the whole image.
    """
    height, width = image["height"], image["width"]
    shape = record.get("segmentation")
    has_shape = bool(shape) and region_problem(record, height, width) is None
    polygons = shape if has_shape and isinstance(shape, list) else None
    box = _sound_box(record.get("bbox")) or _extent(polygons) or box_of(record.get("keypoints"))
    box = box or [0.0, 0.0, float(width), float(height)]
    return {
        "id": number,
        "image_id": image["id"],
        "category_id": category_id,
        "keypoints": [0] * (3 * skeleton.num_keypoints),
        "num_keypoints": 0,
        "bbox": box,
        "area": box[2] * box[3],
        "iscrowd": 1,
        "left_out": True,
        **({"segmentation": shape} if has_shape else {}),
    }


def _sound_box(value: Any) -> list[float] | None:
    box = numbers(value)
    if box is None or len(box) != 4 or not np.isfinite(box).all() or (box[2:] <= 0).any():
        return None
    return box.tolist()


def _extent(polygons: list[list[float]] | None) -> list[float] | None:
    if polygons is None:
        return None
    points = np.concatenate([np.array(polygon, np.float64).reshape(-1, 2) for polygon in polygons])
    low, high = points.min(axis=0), points.max(axis=0)
    return [*low.tolist(), *(high - low).tolist()] if (high > low).all() else None
