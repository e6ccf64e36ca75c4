"""Ground truth in the form that the metrics take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton

Metric = Literal["coco", "crowdpose"]
Dataset = dict[str, Any]  # a COCO-format object: images, annotations, the one category

SKELETONS: dict[Metric, Skeleton] = {"coco": COCO_17, "crowdpose": CROWDPOSE_14}

# CrowdPose has no segmentations: its OKS takes this share of the box for the person's area.
CROWDPOSE_AREA = 0.53


def metric_of(skeleton: Skeleton) -> Metric:
    """The metric that a keypoint set is scored by: CrowdPose's own, COCO's for any other."""
    return "crowdpose" if skeleton.keypoints == CROWDPOSE_14.keypoints else "coco"


def ground_truth(content: Mapping[str, Any], metric: Metric) -> Dataset:
    """Brings a sound COCO-format object into the form that the metrics take.

    Annotations get the ids 1, 2, ... (pycocotools takes a match with id 0 for none), and for
    CrowdPose's metric, `area` becomes 0.53 of the box.

    Args:
        content: sound and complete, such as `data_pipelines.annotations` reads from a file. It is
            not changed.
        metric: whose rule the areas follow.
    """
    people = [dict(person, id=number) for number, person in enumerate(content["annotations"], 1)]
    if metric == "crowdpose":
        for person in people:
            person["area"] = float(CROWDPOSE_AREA * person["bbox"][2] * person["bbox"][3])
    return {
        "images": [dict(image) for image in content["images"]],
        "annotations": people,
        "categories": [dict(category) for category in content["categories"]],
    }
