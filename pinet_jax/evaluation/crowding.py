"""How crowded and how occluded a set of people is: the figures behind the paper's Figs. 3 and 5.

Legend for shapes: P people of one image, K keypoints, S parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from pinet_jax.skeletons import Partition, Skeleton

VISIBLE = 2  # v of a labelled keypoint that can be seen; 1: labelled, hidden; 0: not labelled

BIN_EDGES = np.linspace(0.0, 1.0, 21)  # of the histograms of box IoU and crowdIndex


def box_iou(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union of every pair of boxes.

    Args:
        boxes: [P, 4] of x, y, width, height.

    Returns:
        float64 [P, P], symmetric; 0 where two boxes have no area together.
    """
    corner = np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = corner[:, :2], corner[:, :2] + corner[:, 2:]
    overlap = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    shared = overlap.clip(min=0).prod(axis=-1)  # [P, P]
    area = corner[:, 2:].prod(axis=-1)
    union = area[:, None] + area[None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def mean_box_iou(boxes: np.ndarray) -> float:
    """How crowded an image is: the mean over its people of the largest IoU with another's box.

    The paper bins test images by "the mean IoU of people's boxes" (Fig. 5). A mean over all pairs
    would call a dense crowd sparse, for most pairs in it are apart; this is the mean of OCHuman's
    MaxIoU, by which that dataset was chosen, so that its bins from 0.5 up are filled.

    Args:
        boxes: [P, 4] of x, y, width, height.

    Returns:
        In 0..1; 0 for fewer than two people.
    """
    if len(boxes) < 2:
        return 0.0
    iou = box_iou(boxes)
    np.fill_diagonal(iou, 0.0)
    return float(iou.max(axis=1).mean())


def crowd_index(boxes: np.ndarray, keypoints: np.ndarray) -> float:
    """CrowdPose's crowdIndex: the mean over people of others' keypoints in the box per own ones.

    Li et al., "CrowdPose", CVPR 2019, section 3.1. People without a labelled keypoint in their own
    box do not count.

    Args:
        boxes: [P, 4] of x, y, width, height.
        keypoints: [P, K, 3] of x, y, v; those with v > 0 count.

    Returns:
        0 or more, as in CrowdPose's files rarely above 1; 0 without people.
    """
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4)
    low, high = boxes[:, None, None, :2], (boxes[:, :2] + boxes[:, 2:])[:, None, None]
    points = keypoints[None, :, :, :2]  # [1, P, K, 2]
    inside = ((low <= points) & (points <= high)).all(axis=-1) & (keypoints[None, :, :, 2] > 0)
    counts = inside.sum(axis=-1)  # [P, P]: in the box of the row, keypoints of the column's person
    own = counts.diagonal()
    others = counts.sum(axis=1) - own
    if not own.any():
        return 0.0
    return float((others[own > 0] / own[own > 0]).mean())


def parts_without(keypoints: np.ndarray, partition: Partition, least_v: int = VISIBLE) -> float:
    """The share of parts of which no keypoint has v >= `least_v` (paper, Fig. 3).

    Args:
        keypoints: [P, K, 3] of x, y, v: every person that is to count.
        partition: the S parts.
        least_v: 2 asks for a visible keypoint; 1 for a labelled one, without which a part has no
            target in training.

    Returns:
        In 0..1, over the P x S parts; 0 without people.
    """
    found = keypoints[:, :, 2] >= least_v  # [P, K]
    without = [~found[:, list(part.members)].any(axis=1) for part in partition]
    return float(np.mean(without)) if len(keypoints) else 0.0


def histogram(values: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """How many values lie in each bin, int [len(edges) - 1]; an edge belongs to the upper bin.

    The last bin also has what lies above it, for CrowdPose states crowdIndex up to 3. It does so
    with two digits, so that many values *are* edges, and edges like 0.15 must not miss them by a
    rounding error.
    """
    lowered = edges - 1e-9
    lowered[-1] = np.inf
    return np.histogram(values, lowered)[0]


@dataclasses.dataclass(frozen=True)
class Crowding:
    """The figures of a set of images.

    Attributes:
        images: how many images there are, with or without people.
        people: how many people count: those with at least one labelled keypoint.
        people_per_image: int [images].
        box_iou: float [images], `mean_box_iou` of each.
        crowd_index: float [images], the file's own, or computed where an image lacks it.
        crowd_index_known: whether it is the file's own.
        visibility: per keypoint, int [K, 3]: how often v is 0, 1 and 2.
        hidden_parts: per partition, the share of parts without a visible keypoint.
        unlabelled_parts: per partition, the share without a labelled one.
    """

    images: int
    people: int
    people_per_image: np.ndarray
    box_iou: np.ndarray
    crowd_index: np.ndarray
    crowd_index_known: bool
    visibility: np.ndarray
    hidden_parts: dict[str, float]
    unlabelled_parts: dict[str, float]

    def to_json(self, skeleton: Skeleton) -> dict[str, Any]:
        """Everything that the plot shows, as a JSON object."""
        return {
            "images": self.images,
            "people": self.people,
            "people_per_image": {
                "mean": _mean(self.people_per_image),
                "most": int(self.people_per_image.max(initial=0)),
                "images_with": np.bincount(self.people_per_image).tolist(),
            },
            "box_iou": _histogram(self.box_iou),
            "crowd_index": {
                "source": "annotations" if self.crowd_index_known else "computed",
                **_histogram(self.crowd_index),
            },
            "visibility": {
                name: dict(zip(("unlabelled", "hidden", "visible"), map(int, row), strict=True))
                for name, row in zip(skeleton.keypoints, self.visibility, strict=True)
            },
            "parts_without_a_visible_keypoint": self.hidden_parts,
            "parts_without_a_labelled_keypoint": self.unlabelled_parts,
        }


def crowding(
    images: Iterable[tuple[np.ndarray, np.ndarray, float | None]], skeleton: Skeleton
) -> Crowding:
    """Counts a set of images.

    Args:
        images: of each image the people's boxes [P, 4] (x, y, width, height), their keypoints
            [P, K, 3] and its crowdIndex, None where the file has none.
        skeleton: the keypoint set; its partitions are those that are compared.

    Returns:
        The figures. People without any labelled keypoint do not count.
    """
    boxes, keypoints, known = [], [], []
    for image_boxes, image_keypoints, index in images:
        labelled = (image_keypoints[:, :, 2] > 0).any(axis=1)
        boxes.append(image_boxes[labelled])
        keypoints.append(image_keypoints[labelled])
        known.append(index)
    everybody = np.concatenate([np.zeros((0, skeleton.num_keypoints, 3)), *keypoints])
    index_known = bool(known) and None not in known
    indices = known if index_known else list(map(crowd_index, boxes, keypoints))
    partitions = {name: skeleton.partition(name) for name in skeleton.partition_names}
    return Crowding(
        images=len(known),
        people=len(everybody),
        people_per_image=np.array([len(people) for people in keypoints], np.int64),
        box_iou=np.array([mean_box_iou(image_boxes) for image_boxes in boxes]),
        crowd_index=np.array(indices, np.float64),
        crowd_index_known=index_known,
        visibility=np.stack([(everybody[:, :, 2] == v).sum(axis=0) for v in range(3)], axis=1),
        hidden_parts={n: parts_without(everybody, p) for n, p in partitions.items()},
        unlabelled_parts={n: parts_without(everybody, p, 1) for n, p in partitions.items()},
    )


def _mean(values: Sequence[float] | np.ndarray) -> float:
    return float(np.mean(values)) if len(values) else 0.0


def _histogram(values: np.ndarray) -> dict[str, Any]:
    return {
        "mean": _mean(values),
        "bin_edges": BIN_EDGES.round(6).tolist(),
        "images_in_bin": histogram(values, BIN_EDGES).tolist(),
    }
