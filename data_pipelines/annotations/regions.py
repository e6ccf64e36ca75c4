"""A person's segmentation as pixels: which of them leave the valid mask.

Legend for shapes: H and W the image's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as coco_masks

from data_pipelines.annotations.json_values import Problem, numbers, shown
from data_pipelines.annotations.people import is_masked


def valid_mask(image: dict[str, Any], people: Sequence[dict[str, Any]]) -> np.ndarray:
    """Where labels count.

    Args:
        image: a sound image object.
        people: its sound people.

    Returns:
        uint8 [H, W]: 1, but 0 on crowd regions and on people without labelled keypoints, by their
        segmentation; by their box where they have none.
    """
    height, width = image["height"], image["width"]
    mask = np.ones((height, width), np.uint8)
    for person in filter(is_masked, people):
        mask[coco_masks.decode(outline(person, height, width)) > 0] = 0
    return mask


def outline(person: dict[str, Any], height: int, width: int) -> dict[str, Any]:
    """A sound person's pixels in an image of this size, as pycocotools' RLE; the box if no more
    is known.
    """
    shape = person.get("segmentation")
    if not shape:
        x, y, w, h = person["bbox"]
        shape = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if isinstance(shape, list):
        return coco_masks.merge(coco_masks.frPyObjects(shape, height, width))
    if isinstance(shape["counts"], list):
        return coco_masks.frPyObjects(shape, height, width)
    return shape


def region_problem(person: dict[str, Any], height: int, width: int) -> Problem | None:
    """What keeps a segmentation from being rasterised; pycocotools would not notice."""
    kind = "broken segmentation"
    shape = person.get("segmentation")
    if not shape:
        return None
    if isinstance(shape, list):
        polygons = [numbers(polygon) for polygon in shape]
        far = 10 * max(height, width)  # an outline is sampled point by point
        if any(p is None or len(p) < 6 or len(p) % 2 or not (abs(p) < far).all() for p in polygons):
            return Problem(kind, "a polygon has six numbers or more, in pairs, near the image")
        return None
    if not isinstance(shape, dict):
        return Problem(kind, "neither polygons nor an RLE")
    size = shape.get("size")
    if size != [height, width] or not all(type(side) is int for side in size):
        return Problem(kind, f"an RLE of size {shown(size)}, not {[height, width]}")
    runs = _run_lengths(shape.get("counts"))
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != height * width:
        return Problem(kind, f"its runs do not fill {height} x {width} pixels")
    return None


def _run_lengths(counts: Any) -> list[int] | None:
    """The runs of an RLE, plain or in COCO's compressed string; None where it is neither."""
    if isinstance(counts, list):
        return counts if all(type(run) is int for run in counts) else None
    if not isinstance(counts, str) or not all(48 <= ord(char) < 112 for char in counts):
        return None
    runs: list[int] = []
    value = shift = 0
    for char in counts:  # five bits each, the lowest first; a sixth says that more follow
        bits = ord(char) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            signed = value - (1 << shift) if bits & 0x10 else value
            runs.append(signed + runs[-2] if len(runs) > 2 else signed)
            value = shift = 0
    return None if shift else runs
