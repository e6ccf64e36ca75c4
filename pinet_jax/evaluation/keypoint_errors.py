"""What goes wrong at which keypoint.

The people found at OKS 0.5 are looked at keypoint by keypoint, by the similarity
exp(-d^2 / (2 area (2 sigma)^2)) that OKS averages. Kinds of error as in Ronchi and Perona,
"Benchmarking and Error Diagnosis in Multi-Instance Pose Estimation" (ICCV 2017).

Legend for shapes: N people found, G people of an image, K keypoints.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pinet_jax.evaluation.matching import Matches
from pinet_jax.skeletons import Skeleton

# Good: off by about the annotators' own standard deviation at most. Jitter: the right place, but
# further off. Inversion: on the person's other side (left for right). Swap: on somebody else's
# keypoint, or its mirror image. Miss: on none of these.
KINDS = ("good", "jitter", "inversion", "swap", "miss")
_GOOD, _NEAR = 0.85, 0.5


class KeypointErrors(NamedTuple):
    """Counts over a data set.

    Attributes:
        counts: int [K, 5], labelled keypoints of people found, by kind.
        undetected: int [K], labelled keypoints of people not found.
        similarity: [K], the mean similarity of those of people found; NaN without any.
    """

    counts: np.ndarray
    undetected: np.ndarray
    similarity: np.ndarray


def keypoint_errors(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    matches: Matches,
    skeleton: Skeleton,
) -> KeypointErrors:
    """Sorts every labelled keypoint of the people that count by what became of it.

    Args:
        dataset: checked ground truth, with the areas OKS takes.
        results: checked result entries.
        matches: of these two.
        skeleton: sigmas and mirror pairs.
    """
    people = dataset["annotations"]
    size = skeleton.num_keypoints
    truth = np.array([p["keypoints"] for p in people], float).reshape(-1, size, 3)
    poses = np.array([r["keypoints"] for r in results], float).reshape(-1, size, 3)[..., :2]
    areas = np.array([person["area"] for person in people], float)
    in_image: dict[int, list[int]] = {}
    for index, person in enumerate(people):
        in_image.setdefault(person["image_id"], []).append(index)

    counts = np.zeros((size, len(KINDS)), np.int64)
    undetected = np.zeros(size, np.int64)
    total = np.zeros(size)
    found_by = {
        person: pose
        for person, pose, skip in zip(
            matches.person[0], matches.pose, matches.ignored[0], strict=True
        )
        if person >= 0 and not skip
    }
    for index, person in enumerate(people):
        labelled = truth[index, :, 2] > 0
        if index not in found_by:
            undetected += labelled & bool(person["num_keypoints"] and not person["iscrowd"])
            continue
        others = [other for other in in_image[person["image_id"]] if other != index]
        group = [index, *others]
        near = _similarity(poses[found_by[index]], truth[group], areas[group], skeleton)
        kinds = _kinds(near, skeleton)
        rows = np.flatnonzero(labelled)
        counts[rows, kinds[rows]] += 1
        total[rows] += near[0, 0, rows]
    found = counts.sum(axis=1)
    similarity = np.where(found > 0, total / np.maximum(found, 1), np.nan)
    return KeypointErrors(counts, undetected, similarity)


def _similarity(
    pose: np.ndarray, truth: np.ndarray, areas: np.ndarray, skeleton: Skeleton
) -> np.ndarray:
    """How near each keypoint of a pose is to each person's same and mirrored one, [2, G, K].

    Unlabelled keypoints of the people are near to nothing.
    """
    mirror = list(skeleton.mirror_permutation)
    targets = np.stack([truth, truth[:, mirror]])  # [2, G, K, 3]
    squared = ((pose - targets[..., :2]) ** 2).sum(axis=-1)
    variance = (2 * np.array(skeleton.sigmas)) ** 2
    scale = 2 * (areas[:, None] + np.spacing(1)) * variance  # [G, K]
    return np.where(targets[..., 2] > 0, np.exp(-squared / scale), 0.0)


def _kinds(near: np.ndarray, skeleton: Skeleton) -> np.ndarray:
    """The index into `KINDS` of every keypoint, [K]; the pose's own person is the first of G."""
    own, own_mirrored = near[0, 0], near[1, 0]
    somebody = near[:, 1:].max(axis=(0, 1), initial=0.0)
    paired = np.array(skeleton.mirror_permutation) != np.arange(skeleton.num_keypoints)
    kind = np.full(skeleton.num_keypoints, KINDS.index("miss"))
    kind[somebody >= _NEAR] = KINDS.index("swap")
    kind[paired & (own_mirrored >= _NEAR) & (own_mirrored >= somebody)] = KINDS.index("inversion")
    kind[own >= _NEAR] = KINDS.index("jitter")
    kind[own >= _GOOD] = KINDS.index("good")
    return kind
