"""CrowdPose's figures, by faster-coco-eval.

OKS with 0.53 of the box as area and the set's own sigmas; people whose `num_keypoints` is 0 in the
file do not count; easy, medium and hard images by their `crowdIndex`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from pinet_jax.evaluation.coco import Evaluation, defined
from pinet_jax.evaluation.matching import match_dataset
from pinet_jax.evaluation.results import Dataset
from pinet_jax.skeletons import Skeleton

# CrowdPose's paper says 0.1 for the first; every published tool uses 0.2.
EASY_BELOW = 0.2
MEDIUM_BELOW = 0.8


def evaluate_crowdpose(
    dataset: Dataset, results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> Evaluation:
    """Scores poses as CrowdPose does.

    Args:
        dataset: what `read_annotations` gave.
        results: what `read_results` gave.
        skeleton: its sigmas are used.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75 and AP_easy, AP_medium, AP_hard; the last three are None
        where an image lacks its crowdIndex or no image is of that kind.
    """
    truth = COCO(copy.deepcopy(dataset))
    tool = COCOeval_faster(
        truth,
        truth.loadRes([dict(result) for result in results]),
        "keypoints_crowd",
        kpt_oks_sigmas=list(skeleton.sigmas),
        use_area=False,
        print_function=_silent,
    )
    # The tool's own summary rounds the figures by crowdIndex to four digits.
    precision, recall = _run(tool, sorted(image["id"] for image in dataset["images"]))
    matches = match_dataset(dataset, results, tool.ious)
    return Evaluation(
        metrics={
            **dict(zip(("AP", "AP50", "AP75"), _figures(precision.mean(axis=1)), strict=True)),
            **dict(zip(("AR", "AR50", "AR75"), _figures(recall), strict=True)),
            **{
                f"AP_{level}": defined(_run(tool, ids)[0].mean()) if ids else None
                for level, ids in crowding_levels(dataset).items()
            },
        },
        precision=precision,
        matches=matches,
        people_of={},
    )


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


def _run(tool: COCOeval_faster, image_ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Precision [T, R] and recall [T] over some images."""
    tool.params.imgIds = image_ids
    tool.evaluate()
    tool.accumulate()
    return tool.eval["precision"][:, :, 0, 0, 0], tool.eval["recall"][:, 0, 0, 0]


def _figures(by_threshold: np.ndarray) -> tuple[float | None, ...]:
    """The mean over all thresholds, at OKS 0.5, and at 0.75."""
    return tuple(map(defined, (by_threshold.mean(), by_threshold[0], by_threshold[5])))


def _silent(*_: object) -> None:
    """faster-coco-eval reports its progress otherwise."""
