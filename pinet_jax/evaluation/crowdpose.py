"""CrowdPose's figures: COCO's procedure with rules of its own.

OKS with 0.53 of the box as area (`dataset.ground_truth`) and the set's own sigmas; people whose
`num_keypoints` is 0 in the file do not count; easy, medium and hard images by their `crowdIndex`.
Figures by size are not made.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from pinet_jax.evaluation.coco import Evaluation, evaluate_coco
from pinet_jax.evaluation.dataset import Dataset
from pinet_jax.evaluation.matching import SUMMARY_KEYS, Matches
from pinet_jax.skeletons import Skeleton

# CrowdPose's paper says 0.1 for the first; every published tool uses 0.2.
EASY_BELOW = 0.2
MEDIUM_BELOW = 0.8


def evaluate_crowdpose(
    dataset: Dataset, results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> Evaluation:
    """Scores poses as CrowdPose does.

    Args:
        dataset: from `ground_truth`, with CrowdPose's areas.
        results: checked result entries.
        skeleton: its sigmas are used.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75 and AP_easy, AP_medium, AP_hard; the last three are None
        where an image lacks its crowdIndex or no image is of that kind.
    """
    evaluation = evaluate_coco(dataset, results, skeleton)
    levels = crowding_levels(dataset)
    by_level = {
        f"AP_{level}": _average_precision(evaluation.matches, ids) for level, ids in levels.items()
    }
    overall = {key: evaluation.metrics[key] for key in SUMMARY_KEYS}
    return dataclasses.replace(evaluation, metrics=overall | by_level, people_of={})


def crowding_levels(dataset: Dataset) -> dict[str, list[int]]:
    """Image ids by CrowdPose's three levels; all empty where an image lacks its crowdIndex."""
    levels: dict[str, list[int]] = {"easy": [], "medium": [], "hard": []}
    if any(image.get("crowdIndex") is None for image in dataset["images"]):
        return levels
    for image in dataset["images"]:
        index = image["crowdIndex"]
        level = "easy" if index < EASY_BELOW else "medium" if index < MEDIUM_BELOW else "hard"
        levels[level].append(image["id"])
    return levels


def _average_precision(matches: Matches, image_ids: list[int]) -> float | None:
    """AP of some images; None where nobody is there to be found."""
    ap = matches.subset(np.isin(matches.image_ids, image_ids)).summary()[0]
    return None if np.isnan(ap) else float(ap)
