"""One person of a file: what can be wrong with the record, and what stands in for absent fields.

Legend for shapes: K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from data_pipelines.annotations.json_values import Problem, numbers, shown, whole


def is_kept(person: dict[str, Any]) -> bool:
    """Whether a person has targets: no crowd region, or one with keypoints."""
    return not person["iscrowd"] or person["num_keypoints"] > 0


def is_masked(person: dict[str, Any]) -> bool:
    """Whether a person's region leaves the valid mask: a crowd, or nobody labelled keypoints."""
    return bool(person["iscrowd"]) or person["num_keypoints"] == 0


def person_problems(
    person: dict[str, Any],
    image_ids: Collection[int | None],
    category_id: int,
    num_keypoints: int,
) -> Iterator[Problem]:
    """What is wrong with a record.

    Args:
        person: the record, a JSON object.
        image_ids: of the file's images.
        category_id: that of all people.
        num_keypoints: K.
    """
    image_id = whole(person.get("image_id"))
    if image_id is None or image_id not in image_ids:
        yield Problem("annotation without image", f"image_id {shown(person.get('image_id'))}")
    if whole(person.get("category_id", category_id)) != category_id:
        detail = f"{shown(person['category_id'])}, not {category_id}"
        yield Problem("category_id is no category of people", detail)
    yield from _keypoint_problems(person.get("keypoints"), num_keypoints)
    yield from _box_problems(person.get("bbox"))
    if person.get("iscrowd", 0) not in (0, 1):
        yield Problem("iscrowd is neither 0 nor 1", shown(person["iscrowd"]))
    count = whole(person.get("num_keypoints", 0))
    if count is None or count < 0:
        yield Problem("num_keypoints is no count", shown(person["num_keypoints"]))
    area = numbers([person.get("area", 0)])
    if area is None or not np.isfinite(area).all() or area[0] < 0:
        yield Problem("area is no finite, positive number", shown(person["area"]))


def completed(person: dict[str, Any], category_id: int) -> dict[str, Any]:
    """A sound person with every field that evaluation and training ask for.

    Absent fields: `iscrowd` is 0, `num_keypoints` the count of labelled ones, `category_id` that of
    all people, and `area` that of the box, also where it is 0 although keypoints are labelled: OKS
    divides by the area, and would find nobody.
    """
    filled = {
        "iscrowd": 0,
        "num_keypoints": sum(v > 0 for v in person["keypoints"][2::3]),
        "category_id": category_id,
        **person,
    }
    if lacks_area(person):
        filled["area"] = person["bbox"][2] * person["bbox"][3]
    whole_fields = ("id", "image_id", "category_id", "num_keypoints", "iscrowd")
    return filled | {field: int(filled[field]) for field in whole_fields}


def lacks_area(person: dict[str, Any]) -> bool:
    """Whether the box's area stands in for that of a sound person."""
    return "area" not in person or (person["area"] == 0 and any(person["keypoints"][2::3]))


def keypoint_count_problem(found: np.ndarray, num_keypoints: int) -> Problem | None:
    """Whether a list of numbers is not K triplets."""
    if len(found) == 3 * num_keypoints:
        return None
    detail = f"{len(found)} numbers, {num_keypoints} x 3 wanted"
    return Problem("wrong number of keypoints", detail)


def coordinate_problem(points: np.ndarray) -> Problem | None:
    """The first of keypoints [K, 3] whose x or y is not finite."""
    bad = np.flatnonzero(~np.isfinite(points[:, :2]).all(axis=1))
    if not len(bad):
        return None
    detail = f"keypoint {bad[0]}: {shown(points[bad[0]].tolist())}"
    return Problem("NaN or infinite coordinates", detail)


def _keypoint_problems(value: Any, num_keypoints: int) -> Iterator[Problem]:
    found = numbers(value)
    if found is None:
        yield Problem("keypoints are no list of numbers", shown(value))
        return
    wrong_count = keypoint_count_problem(found, num_keypoints)
    if wrong_count:
        yield wrong_count
        return
    points = found.reshape(num_keypoints, 3)
    far_off = coordinate_problem(points)
    if far_off:
        yield far_off
    outside = np.flatnonzero(~np.isin(points[:, 2], (0, 1, 2)))
    if len(outside):
        yield Problem("v outside 0..2", f"keypoint {outside[0]}: v = {points[outside[0], 2]:g}")


def _box_problems(value: Any) -> Iterator[Problem]:
    box = numbers(value)
    if box is None or len(box) != 4:
        yield Problem("bbox is no list of four numbers", shown(value))
    elif not np.isfinite(box).all():
        yield Problem("NaN or infinite box", shown(value))
    elif (box[2:] <= 0).any() or not 0 < np.float32(box[2]) * np.float32(box[3]) < np.inf:
        yield Problem("empty or negative box", shown(value))
