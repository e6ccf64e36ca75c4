"""Anybody's poses in COCO's result format, checked against their ground truth.

A wrong file gives one line that says what is wrong; it never gives a figure.

Legend for shapes: K keypoints.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from data_pipelines.annotations.json_values import Problem, load_json, numbers, shown, whole
from data_pipelines.annotations.people import coordinate_problem, keypoint_count_problem
from pinet_jax.errors import InputError
from pinet_jax.evaluation.dataset import Dataset
from pinet_jax.skeletons import Skeleton

_FIELDS = ("image_id", "keypoints", "score")


def read_results(file: Path, dataset: Dataset, skeleton: Skeleton) -> list[dict[str, Any]]:
    """Reads a result file; see `check_results`.

    Raises:
        InputError: also where the file cannot be read.
    """
    content, problem = load_json(file)
    if problem:
        raise InputError(f"{file}: {problem.kind} ({problem.detail})")
    poses = check_results(content, dataset, skeleton, where=str(file))
    zeros = sum(whole(pose.get("category_id")) == 0 for pose in content)
    if zeros and dataset["categories"][0]["id"] != 0:
        print(f"{file}: {zeros} poses of category 0, taken for people", file=sys.stderr)
    return poses


def check_results(
    poses: Any, dataset: Dataset, skeleton: Skeleton, *, where: str = "results"
) -> list[dict[str, Any]]:
    """Checks poses against their ground truth.

    An `image_id` may also be a file name of the ground truth, as `predict` writes them, or its stem
    where it is one image's alone. Category 0, as tools count from it, is the people's.

    Args:
        poses: a list of COCO result entries, read from JSON.
        dataset: ground truth.
        skeleton: whose K keypoints every pose has.
        where: what messages call the list.

    Returns:
        New entries in the same order, with `image_id`, `category_id`, `keypoints`, `score`.

    Raises:
        InputError: not a list of poses; numbers that are not finite; poses for images or
            categories that the ground truth lacks; another number of keypoints.
    """
    if not isinstance(poses, list):
        raise InputError(f"{where}: not a result file (it is a JSON {type(poses).__name__})")
    ids = {image["id"] for image in dataset["images"]}
    names = _names(dataset["images"])
    category = dataset["categories"][0]["id"]
    categories = {category, 0, *dataset["categories"][0].get("joined", ())}
    checked, faults = [], []
    for number, pose in enumerate(poses):
        image_id = _image_id(pose.get("image_id"), names) if isinstance(pose, Mapping) else None
        problem = next(_problems(pose, image_id, ids, categories, skeleton), None)
        if problem:
            faults.append((number, problem))
            continue
        checked.append(
            {
                "image_id": image_id,
                "category_id": category,
                "keypoints": [float(value) for value in pose["keypoints"]],
                "score": float(pose["score"]),
            }
        )
    if faults:
        raise InputError(_message(where, faults))
    return checked


def _problems(
    pose: Any, image_id: Any, image_ids: set[int], categories: set[int], skeleton: Skeleton
) -> Iterator[Problem]:
    if not isinstance(pose, Mapping):
        yield Problem("not an object")
        return
    for field in _FIELDS:
        if field not in pose:
            yield Problem(f"lacks {field}")
    if image_id not in image_ids:
        yield Problem("result without image", f"image_id {shown(pose['image_id'])}")
    if "category_id" in pose and whole(pose["category_id"]) not in categories:
        wanted = " or ".join(map(str, sorted(categories - {0}) or [0]))
        detail = f"{shown(pose['category_id'])}, not {wanted}"
        yield Problem("category_id is no category of people", detail)
    found = numbers(pose["keypoints"])
    if found is None:
        yield Problem("keypoints are no list of numbers", shown(pose["keypoints"]))
        return
    wrong_count = keypoint_count_problem(found, skeleton.num_keypoints)
    if wrong_count:
        yield wrong_count
        return
    points = found.reshape(skeleton.num_keypoints, 3)
    far_off = coordinate_problem(points)
    if far_off:
        yield far_off
    if not np.isfinite(points).all():
        yield Problem("NaN or infinite score of a keypoint")
    score = numbers([pose["score"]])
    if score is None or not np.isfinite(score).all():
        yield Problem("score is no finite number", shown(pose["score"]))


def _message(where: str, faults: Sequence[tuple[int, Problem]]) -> str:
    number, problem = faults[0]
    text = f"{where}: result {number}: {problem.kind}"
    if problem.detail:
        text += f" ({problem.detail})"
    if len(faults) > 1:
        text += f" (and {len(faults) - 1} more)"
    if problem.kind == "result without image":
        text += "; are these the files of one split?"
    return text


def _names(images: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """File name -> image id; also without folder or suffix, where only one image is called so."""
    full = {str(image["file_name"]): image["id"] for image in images if "file_name" in image}
    shorter = [(name, i) for n, i in full.items() for name in {Path(n).name, Path(n).stem}]
    count = Counter(name for name, _ in shorter)
    return {name: i for name, i in shorter if count[name] == 1} | full


def _image_id(given: Any, names: Mapping[str, int]) -> int | None:
    """The image that a result names by its id or its file."""
    if isinstance(given, str):
        return names.get(given, names.get(Path(given).name))
    return whole(given)
