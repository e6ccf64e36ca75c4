"""Who was found: matches per image, and average precision from them.

The figures of record come from pycocotools. They say nothing about single
images; the matches here do, and give the same figures for any set of images with any weights:
what bootstrap, bins of crowding, and the report's gallery are made of.

Legend for shapes: I images, D poses, G people, T thresholds, R recall levels.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

OKS_THRESHOLDS = np.linspace(0.5, 0.95, 10)  # [T]
RECALL_LEVELS = np.linspace(0.0, 1.0, 101)  # [R]
MAX_POSES = 20  # the best so many of an image count, in COCO and in CrowdPose
SUMMARY_KEYS = ("AP", "AP50", "AP75", "AR", "AR50", "AR75")


@dataclasses.dataclass(frozen=True)
class Matches:
    """Poses by descending score, over all images.

    Attributes:
        image_ids: [I], ascending.
        people: int [I], people that count; those in crowds or without keypoints do not.
        image: int [D], index into image_ids.
        pose: int [D], index into the results.
        score: [D].
        person: int [T, D], index into the annotations of the person found, or -1.
        ignored: bool [T, D], poses on people that do not count.
        oks: [D], with the person found at the lowest threshold; 0 without one.
    """

    image_ids: np.ndarray
    people: np.ndarray
    image: np.ndarray
    pose: np.ndarray
    score: np.ndarray
    person: np.ndarray
    ignored: np.ndarray
    oks: np.ndarray

    def subset(self, images: np.ndarray) -> Matches:
        """Only the images where the mask bool [I] is set; weights stay [I]."""
        kept = images[self.image]
        return Matches(
            image_ids=self.image_ids,
            people=np.where(images, self.people, 0),
            image=self.image[kept],
            pose=self.pose[kept],
            score=self.score[kept],
            person=self.person[:, kept],
            ignored=self.ignored[:, kept],
            oks=self.oks[kept],
        )

    @cached_property
    def _counted(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per threshold: images of the poses that count, and where among them the hits are."""
        counted = [np.flatnonzero(~ignored) for ignored in self.ignored]
        return [
            (self.image[poses], np.flatnonzero(person[poses] >= 0))
            for poses, person in zip(counted, self.person, strict=True)
        ]

    def precision_recall(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """COCO's interpolated precision [T, R] and final recall [T].

        Args:
            weights: int [I], how often each image occurs; once by default.

        Returns:
            Both, NaN where no person counts. Images that occur several times give what copies of
            them would (up to the order of equal scores).
        """
        weights = np.ones(len(self.image_ids), np.int64) if weights is None else weights
        people = int(weights @ self.people)
        precision = np.full((len(OKS_THRESHOLDS), len(RECALL_LEVELS)), np.nan)
        recall = np.full(len(OKS_THRESHOLDS), np.nan)
        if people == 0:
            return precision, recall
        for t, (images, hits) in enumerate(self._counted):
            occurs = weights[images]
            # The interpolated curve is decided at the hits: between them precision only falls.
            found = np.cumsum(occurs[hits])
            seen = np.cumsum(occurs)[hits]
            best = np.maximum.accumulate((found / (seen + np.spacing(1)))[::-1])[::-1]
            level = np.searchsorted(found / people, RECALL_LEVELS, side="left")
            precision[t] = np.append(best, 0.0)[level]
            recall[t] = found[-1] / people if len(found) else 0.0
        return precision, recall

    def summary(self, weights: np.ndarray | None = None) -> np.ndarray:
        """The figures of `SUMMARY_KEYS`, float64 [6]; NaN where no person counts."""
        precision, recall = self.precision_recall(weights)
        by_threshold = (precision.mean(axis=1), recall)
        return np.array([f for x in by_threshold for f in (x.mean(), x[0], x[5])])


def match_dataset(
    dataset: Mapping[str, Any],
    results: Sequence[Mapping[str, Any]],
    oks: Mapping[tuple[int, int], Any],
) -> Matches:
    """Matches the poses of all images.

    Args:
        dataset: images, annotations and one category.
        results: checked result entries.
        oks: (image id, category id) -> [D, G] as the evaluation tools keep it in `ious`: poses by
            descending score, at most 20, people in the order of the annotations.
    """
    people = _People.of(dataset)
    category = dataset["categories"][0]["id"]
    poses_of = by_image(results)
    scores = np.array([result["score"] for result in results], np.float64)
    image_ids = np.array(sorted(image["id"] for image in dataset["images"]))
    counts = np.zeros(len(image_ids), np.int64)
    columns: list[tuple[np.ndarray, ...]] = []
    for index, image_id in enumerate(image_ids.tolist()):
        here = np.array(people.of_image.get(image_id, ()), np.int64)
        poses = np.array(poses_of.get(image_id, ()), np.int64)
        poses = poses[np.argsort(-scores[poses], kind="stable")][:MAX_POSES]
        counts[index] = np.count_nonzero(~people.ignored[here])
        table = np.asarray(oks.get((image_id, category), ()), np.float64)
        table = table.reshape(len(poses), len(here)) if table.size else _nobody(poses, here)
        columns.append((np.full(len(poses), index), poses, *_match_image(table, here, people)))
    images, poses, person, ignored, similarity = _join(columns)
    order = np.argsort(-scores[poses], kind="stable")
    return Matches(
        image_ids=image_ids,
        people=counts,
        image=images[order],
        pose=poses[order],
        score=scores[poses][order],
        person=person[:, order],
        ignored=ignored[:, order],
        oks=similarity[order],
    )


class _People(NamedTuple):
    """The annotations of a data set, G in all."""

    of_image: dict[int, list[int]]  # image id -> indices
    crowd: np.ndarray  # bool [G]
    ignored: np.ndarray  # bool [G], crowds and people without keypoints: they do not count

    @classmethod
    def of(cls, dataset: Mapping[str, Any]) -> _People:
        people = dataset["annotations"]
        crowd = np.array([bool(person["iscrowd"]) for person in people], bool)
        unlabelled = np.array([person["num_keypoints"] == 0 for person in people], bool)
        return cls(by_image(people), crowd, crowd | unlabelled)


def _match_image(
    oks: np.ndarray, here: np.ndarray, people: _People
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The columns `person`, `ignored` and `oks` of `Matches` of one image.

    Args:
        oks: [D, G], poses by descending score.
        here: int [G], the image's people among all.
        people: all of them.
    """
    found = match(oks, people.ignored[here], people.crowd[here])  # [T, D]
    hit = found >= 0
    person = np.where(hit, np.append(here, -1)[found], -1)
    ignored = hit & np.append(people.ignored, False)[person]
    similarity = np.append(oks, np.zeros((len(oks), 1)), axis=1)
    return person, ignored, similarity[np.arange(len(oks)), found[0]]


def match(oks: np.ndarray, ignored: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """COCO's greedy matching of one image.

    In the order of their scores, poses take the person of highest OKS (of equal ones the last) that
    is still free. People that do not count come second, and crowds are never used up.

    Args:
        oks: [D, G], poses by descending score.
        ignored: bool [G], people that do not count.
        crowd: bool [G].

    Returns:
        int [T, D], the column of the person found at each threshold, or -1.
    """
    num_poses, num_people = oks.shape
    found = np.full((len(OKS_THRESHOLDS), num_poses), -1)
    taken = np.zeros((len(OKS_THRESHOLDS), num_people), bool)
    if num_people == 0:
        return found
    for d in np.flatnonzero(oks.max(axis=1) >= OKS_THRESHOLDS[0]):
        free = (oks[d] >= OKS_THRESHOLDS[:, None]) & (~taken | crowd)  # [T, G]
        counting = free & ~ignored
        candidates = np.where(counting.any(axis=1, keepdims=True), counting, free)
        best = num_people - 1 - np.where(candidates, oks[d], -1.0)[:, ::-1].argmax(axis=1)
        t = np.flatnonzero(candidates.any(axis=1))
        found[t, d] = best[t]
        taken[t, best[t]] = True
    return found


def per_image(matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Average precision [I] and mean OKS per person [I] (0 for one not found) of single images.

    NaN for images without people that count.
    """
    precision = np.full(len(matches.image_ids), np.nan)
    similarity = np.full(len(matches.image_ids), np.nan)
    order = np.argsort(matches.image, kind="stable")  # by image; still by score within
    bounds = np.searchsorted(matches.image[order], np.arange(len(matches.image_ids) + 1))
    for index in np.flatnonzero(matches.people):
        poses = order[bounds[index] : bounds[index + 1]]
        one = Matches(
            image_ids=matches.image_ids[index : index + 1],
            people=matches.people[index : index + 1],
            image=np.zeros(len(poses), np.int64),
            pose=matches.pose[poses],
            score=matches.score[poses],
            person=matches.person[:, poses],
            ignored=matches.ignored[:, poses],
            oks=matches.oks[poses],
        )
        precision[index] = one.summary()[0]
        similarity[index] = one.oks[~one.ignored[0]].sum() / matches.people[index]
    return precision, similarity


def best_f1_score(matches: Matches) -> float:
    """The score from which poses have the best F1 at OKS 0.5: where to cut for showing them.

    0 where nobody is found.
    """
    counted = ~matches.ignored[0]
    hits = np.cumsum(counted & (matches.person[0] >= 0))
    if not hits.any():
        return 0.0
    f1 = 2 * hits / (np.cumsum(counted) + matches.people.sum())
    return float(matches.score[f1.argmax()])


def by_image(records: Sequence[Mapping[str, Any]]) -> dict[int, list[int]]:
    """The places of every image's records, in their order."""
    groups: dict[int, list[int]] = {}
    for number, record in enumerate(records):
        groups.setdefault(record["image_id"], []).append(number)
    return groups


def _nobody(poses: np.ndarray, people: np.ndarray) -> np.ndarray:
    """The tools keep no table where there are no poses or no people."""
    return np.zeros((len(poses), len(people)))


def _join(columns: Sequence[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    none = np.zeros((len(OKS_THRESHOLDS), 0))
    start = (none[0].astype(int), none[0].astype(int), none.astype(int), none > 0, none[0])
    return [np.concatenate(arrays, axis=-1) for arrays in zip(start, *columns, strict=True)]
