"""One person of a file: what can be wrong with the record, and what stands in for absent fields.

Legend for shapes: K keypoints.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import numpy as np

from data_pipelines.annotations.json_values import Problem, numbers, shown, whole
from pinet_jax.evaluation.dataset import metric_of
from pinet_jax.skeletons import Skeleton

# A box that is made of keypoints leaves so much on every side: a share of its longer side, and
# pixels at least, for one keypoint alone has no extent.
_MARGIN, _LEAST_MARGIN = 0.1, 5.0


def is_kept(person: dict[str, Any]) -> bool:
    """Whether a person has targets: no crowd region, or one with keypoints."""
    return not person["iscrowd"] or person["num_keypoints"] > 0


def is_masked(person: dict[str, Any]) -> bool:
    """Whether a person's region leaves the valid mask: a crowd, or nobody labelled keypoints."""
    return bool(person["iscrowd"]) or person["num_keypoints"] == 0


def person_problems(
    person: dict[str, Any],
    image_ids: Collection[int | None],
    categories: Collection[int],
    skeleton: Skeleton,
) -> Iterator[Problem]:
    """What is wrong with a record, after `repaired`.

    Args:
        person: the record, a JSON object.
        image_ids: of the file's images.
        categories: those of people.
        skeleton: of K keypoints.
    """
    image_id = whole(person.get("image_id"))
    if image_id is None or image_id not in image_ids:
        yield Problem("annotation without image", f"image_id {shown(person.get('image_id'))}")
    if "category_id" in person and whole(person["category_id"]) not in categories:
        wanted = " or ".join(map(str, sorted(categories)))
        detail = f"{shown(person['category_id'])}, not {wanted}"
        yield Problem("category_id is no category of people", detail)
    yield from _keypoint_problems(person.get("keypoints"), skeleton.num_keypoints)
    yield from _box_problems(person.get("bbox"))
    if person.get("iscrowd", 0) not in (0, 1):
        yield Problem("iscrowd is neither 0 nor 1", shown(person["iscrowd"]))
    count = whole(person.get("num_keypoints", 0))
    if count is None or count < 0:
        yield Problem("num_keypoints is no count", shown(person["num_keypoints"]))
    elif "num_keypoints" in person:
        yield from _contradictions(person, count, skeleton)
    area = numbers([person.get("area", 0)])
    if area is None or not np.isfinite(area).all() or area[0] < 0:
        yield Problem("area is no finite, positive number", shown(person["area"]))


def repaired(person: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """The record with what exporters are known to leave out, and whether a box was made.

    Keypoints with v = 0 may have null or NaN as coordinates: they are 0. A box that is missing, or
    flat, is made from the labelled keypoints.
    """
    points = _unlabelled_at_0(person.get("keypoints"))
    if points is not person.get("keypoints"):
        person = person | {"keypoints": points}
    if not _lacks_box(person.get("bbox")):
        return person, False
    box = box_of(points)
    return (person, False) if box is None else (person | {"bbox": box}, True)


def completed(person: dict[str, Any], category_id: int) -> dict[str, Any]:
    """A sound person with every field that evaluation and training ask for.

    `category_id` is that of all people. Absent fields: `iscrowd` is 0, `num_keypoints` the count of
    labelled ones, and `area` that of the box, also where it is 0 although keypoints are labelled:
    OKS divides by the area, and would find nobody.
    """
    filled = {
        "iscrowd": 0,
        "num_keypoints": sum(v > 0 for v in person["keypoints"][2::3]),
        **person,
        "category_id": category_id,
    }
    if lacks_area(person):
        filled["area"] = person["bbox"][2] * person["bbox"][3]
    whole_fields = ("id", "image_id", "category_id", "num_keypoints", "iscrowd")
    return filled | {field: int(filled[field]) for field in whole_fields}


def lacks_area(person: dict[str, Any]) -> bool:
    """Whether the box's area stands in for that of a sound person."""
    return "area" not in person or (person["area"] == 0 and any(person["keypoints"][2::3]))


def _unlabelled_at_0(value: Any) -> Any:
    """Keypoints in which those that are not labelled have numbers; the same object if they do."""
    if not isinstance(value, list) or len(value) % 3:
        return value
    cleaned = list(value)
    for start in range(0, len(value), 3):
        x, y, v = value[start : start + 3]
        if type(v) in (int, float) and v == 0 and any(c is None or c != c for c in (x, y)):
            cleaned[start : start + 2] = [0, 0]
    return value if cleaned == value else cleaned


def _lacks_box(value: Any) -> bool:
    """Whether there is no box, or one without an extent; a broken one is a fault."""
    if value is None:
        return True
    box = numbers(value)
    if box is None or len(box) not in (0, 4) or not np.isfinite(box).all():
        return False
    return len(box) == 0 or bool((box[2:] >= 0).all() and (box[2:] == 0).any())


def box_of(keypoints: Any) -> list[float] | None:
    """A box about the labelled keypoints [K, 3]; None where there are none, or they are broken."""
    found = numbers(keypoints)
    if found is None or len(found) % 3:
        return None
    points = found.reshape(-1, 3)
    points = points[points[:, 2] > 0, :2]
    if not len(points) or not np.isfinite(points).all():
        return None
    low, high = points.min(axis=0), points.max(axis=0)
    margin = max(_MARGIN * float((high - low).max()), _LEAST_MARGIN)
    return [*(low - margin).tolist(), *(high - low + 2 * margin).tolist()]


def _contradictions(person: dict[str, Any], count: int, skeleton: Skeleton) -> Iterator[Problem]:
    """A count that says the opposite of the keypoints: it decides who counts in a figure.

    CrowdPose's files count otherwise, and people with 0 do not count in its metric.
    """
    found = numbers(person.get("keypoints"))
    if found is None or len(found) != 3 * skeleton.num_keypoints:
        return  # a fault of its own
    if metric_of(skeleton) == "crowdpose":
        return
    labelled = int((found[2::3] > 0).sum())
    if (count == 0) != (labelled == 0):
        yield Problem("num_keypoints contradicts the keypoints", f"{count}, {labelled} labelled")


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
        yield Problem("keypoints are no list of numbers", _first_odd(value))
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


def _first_odd(value: Any) -> str:
    """What in a value is no number, with its place where it has one."""
    if not isinstance(value, list):
        return shown(value)
    place = next(i for i, v in enumerate(value) if type(v) not in (int, float))
    start = place - place % 3
    return f"keypoint {place // 3}: {shown(value[start : start + 3])}"


def _box_problems(value: Any) -> Iterator[Problem]:
    box = numbers(value)
    if box is None or len(box) != 4:
        yield Problem("bbox is no list of four numbers", shown(value))
    elif not np.isfinite(box).all():
        yield Problem("NaN or infinite box", shown(value))
    elif (box[2:] <= 0).any() or not 0 < np.float32(box[2]) * np.float32(box[3]) < np.inf:
        yield Problem("empty or negative box", shown(value))
