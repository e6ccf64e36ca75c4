"""COCO's keypoint figures, by pycocotools; OCHuman and custom keypoint sets are scored like this.

Legend for shapes: T thresholds, R recall levels.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from pinet_jax.evaluation.dataset import Dataset
from pinet_jax.evaluation.matching import Matches, by_image, match_dataset
from pinet_jax.skeletons import Skeleton

# In the order of pycocotools' `stats`. By area: medium is 32^2 to 96^2 pixels, large is above.
_KEYS = ("AP", "AP50", "AP75", "AP_area_medium", "AP_area_large",
         "AR", "AR50", "AR75", "AR_area_medium", "AR_area_large")  # fmt: skip
_ORDER = ("AP", "AP50", "AP75", "AR", "AR50", "AR75", *(key for key in _KEYS if "area" in key))


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """What is known after scoring one result file.

    Attributes:
        metrics: figures of record as fractions, by name; None where nobody is there to be found.
        precision: interpolated precision [T, R] at OKS 0.5, 0.55, ..., 0.95 and recall 0, ..., 1.
        matches: who was found, image by image.
        people_of: how many people the figures of one size are made of, by name; COCO alone has
            such figures.
    """

    metrics: dict[str, float | None]
    precision: np.ndarray
    matches: Matches
    people_of: dict[str, int]


def evaluate_coco(
    dataset: Dataset, results: Sequence[dict[str, Any]], skeleton: Skeleton
) -> Evaluation:
    """Scores poses as COCO does: area as annotated, the 20 best poses of an image.

    Args:
        dataset: from `ground_truth`.
        results: checked result entries.
        skeleton: its sigmas are used.

    Returns:
        AP, AP50, AP75, AR, AR50, AR75 and AP and AR of people of medium and of large area.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints as it goes
        tool = _tool(dataset, results, skeleton)
        tool.evaluate()
        tool.accumulate()
        tool.summarize()
    figures = dict(zip(_KEYS, map(_defined, tool.stats), strict=True))
    return Evaluation(
        metrics={key: figures[key] for key in _ORDER},
        precision=tool.eval["precision"][:, :, 0, 0, 0],
        matches=match_dataset(dataset, results, tool.ious),
        people_of=_people_by_area(tool),
    )


def best_oks(dataset: Dataset, results: Sequence[dict[str, Any]], skeleton: Skeleton) -> np.ndarray:
    """The OKS of every pose with the person of its image whom it fits best.

    Crowds and people without labelled keypoints are left out: they say nothing about a pose.

    Args:
        dataset: from `ground_truth`.
        results: [D] checked result entries.
        skeleton: its sigmas are used.

    Returns:
        float64 [D]; 0 where nobody is labelled.
    """
    labelled = [p for p in dataset["annotations"] if p["num_keypoints"] and not p["iscrowd"]]
    with contextlib.redirect_stdout(io.StringIO()):
        tool = _tool({**dataset, "annotations": labelled}, results, skeleton)
        tool._prepare()
    tool.params.maxDets = [len(results)]  # all of an image, not the 20 best
    scores = np.array([pose["score"] for pose in results], np.float64)
    best = np.zeros(len(results))
    for image, places in by_image(results).items():
        here = np.array(places)
        # [poses by descending score, people]
        oks = np.asarray(tool.computeOks(image, tool.params.catIds[0]))
        if oks.size:
            best[here[np.argsort(-scores[here], kind="stable")]] = oks.max(axis=1)
    return best


def _tool(dataset: Dataset, results: Sequence[dict[str, Any]], skeleton: Skeleton) -> COCOeval:
    truth = COCO()
    truth.dataset = copy.deepcopy(dataset)
    truth.createIndex()
    # loadRes looks into the first pose, so it cannot read an empty list.
    poses = truth.loadRes([dict(r) for r in results]) if results else _nothing(dataset)
    tool = COCOeval(truth, poses, "keypoints")
    tool.params.kpt_oks_sigmas = np.array(skeleton.sigmas)
    return tool


def _defined(figure: float) -> float | None:
    """pycocotools writes -1 where there is nobody to find."""
    return float(figure) if figure > -1 else None


def _people_by_area(tool: COCOeval) -> dict[str, int]:
    """How many people count in the figures of either size, by the figures' names."""
    sizes = dict(zip(map(tuple, tool.params.areaRng), tool.params.areaRngLbl, strict=True))
    people = dict.fromkeys(sizes.values(), 0)
    for image in filter(None, tool.evalImgs):  # None where nobody is and nobody was found
        people[sizes[tuple(image["aRng"])]] += int(np.sum(np.logical_not(image["gtIgnore"])))
    return {key: people[key.rsplit("_", 1)[1]] for key in _ORDER if "area" in key}


def _nothing(dataset: Dataset) -> COCO:
    poses = COCO()
    poses.dataset = {**copy.deepcopy(dataset), "annotations": []}
    poses.createIndex()
    return poses
