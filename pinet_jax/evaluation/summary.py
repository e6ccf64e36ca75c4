"""All figures of one result file together: metrics, intervals, crowding, a paired comparison.

Figures are fractions; `tables` writes them.

Legend for shapes: I images, M figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from pinet_jax.errors import UsageError
from pinet_jax.evaluation.bootstrap import bootstrap, interval
from pinet_jax.evaluation.coco import Evaluation, evaluate_coco
from pinet_jax.evaluation.crowding import mean_box_iou
from pinet_jax.evaluation.crowdpose import crowding_levels, evaluate_crowdpose
from pinet_jax.evaluation.dataset import SKELETONS, Dataset, Metric
from pinet_jax.evaluation.matching import SUMMARY_KEYS, Matches
from pinet_jax.skeletons import Skeleton

# The last five are the bins of the paper's figure 5.
CROWDING_BINS = tuple(np.linspace(0, 1, 11).round(1).tolist())
Interval = tuple[float, float]


@dataclasses.dataclass(frozen=True)
class CrowdingBin:
    """Images whose people's boxes overlap about as much (figure 5 of the paper).

    Attributes:
        low: smallest `mean_box_iou`.
        high: the IoU is below it; in the last bin, not above it.
        images: how many there are.
        people: how many of their people count.
        AP: fraction; None where no person counts.
        interval: of the AP.
    """

    low: float
    high: float
    images: int
    people: int
    AP: float | None
    interval: Interval | None


@dataclasses.dataclass(frozen=True)
class Difference:
    """One figure of two systems on the same images.

    Attributes:
        first: fraction.
        second: fraction, of the system compared with.
        difference: first minus second.
        interval: of the difference.
        first_better: share of resamples in which the first is better; ties count half.
    """

    first: float
    second: float
    difference: float
    interval: Interval
    first_better: float


@dataclasses.dataclass(frozen=True)
class Summary:
    """The figures of one result file.

    Attributes:
        metric: "coco" or "crowdpose".
        images: how many there are.
        people: how many of their people count.
        poses: how many the file holds; the 20 best of an image count.
        metrics: fractions, or None where nobody is to be found.
        intervals: of the figures that are made of all people, by name.
        people_of: how many people the figures of one size are made of, by name.
        crowding: AP by mean IoU of boxes.
        resamples: images were drawn so many times for the intervals.
    """

    metric: Metric
    images: int
    people: int
    poses: int
    metrics: dict[str, float | None]
    intervals: dict[str, Interval]
    people_of: dict[str, int]
    crowding: tuple[CrowdingBin, ...]
    resamples: int


def evaluate(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    metric: Metric,
    skeleton: Skeleton | None = None,
) -> Evaluation:
    """Scores checked results by a metric's tool, with its own sigmas unless a skeleton is given."""
    tool = {"coco": evaluate_coco, "crowdpose": evaluate_crowdpose}[metric]
    return tool(dataset, results, skeleton or SKELETONS[metric])


def summarize(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    evaluation: Evaluation,
    metric: Metric,
    *,
    crowding_bins: Sequence[float] = CROWDING_BINS,
    resamples: int = 1000,
    seed: int = 0,
) -> Summary:
    """Adds crowding and intervals to an evaluation.

    Args:
        dataset: checked ground truth.
        results: checked results.
        evaluation: of these two.
        metric: the one they were evaluated by.
        crowding_bins: edges of bins of mean IoU, ascending, within 0..1.
        resamples: for the intervals; 0 leaves them out.
        seed: of the resamples.

    Raises:
        UsageError: the edges are not ascending within 0..1, or the resamples are negative.
    """
    if resamples < 0:
        raise UsageError(f"resamples {resamples}: give 0 or more")
    matches = evaluation.matches
    bins = _bins(dataset, matches, check_bins(crowding_bins))
    subsets = {**_levels(dataset, matches), **{bin.key: bin.mask for bin in bins}}
    figures = _Figures(matches, subsets)
    once = dict(zip(figures.keys, figures(), strict=True))
    spread = _intervals(figures, len(matches.image_ids), resamples, seed)
    return Summary(
        metric=metric,
        images=len(matches.image_ids),
        people=int(matches.people.sum()),
        poses=len(results),
        metrics=evaluation.metrics,
        intervals={key: spread[key] for key in evaluation.metrics if key in spread},
        people_of=evaluation.people_of,
        crowding=tuple(_crowding_bin(bin, matches, once, spread) for bin in bins),
        resamples=resamples,
    )


def paired_differences(
    dataset: Dataset,
    first: Evaluation,
    second: Evaluation,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, Difference]:
    """Two systems on the same resampled images, figure by figure.

    The difference is far surer than either figure: what makes the drawn images hard or easy is the
    same for both. An interval without 0 is a difference that other images would likely show too.

    Args:
        dataset: checked ground truth of both.
        first: evaluated on it.
        second: the same for the system to compare with.
        resamples: how often images are drawn, at least 1.
        seed: of the resamples.
    """
    levels = _levels(dataset, first.matches)
    ours, theirs = _Figures(first.matches, levels), _Figures(second.matches, levels)
    samples = bootstrap(
        lambda weights: np.stack([ours(weights), theirs(weights)]),
        len(first.matches.image_ids),
        resamples=resamples,
        seed=seed,
    )  # [B, 2, M]
    change = samples[:, 0] - samples[:, 1]
    bounds = interval(change)
    better = (np.sign(change) + 1) / 2
    return {
        key: Difference(a, b, a - b, (float(low), float(high)), float(np.nanmean(better[:, m])))
        for m, (key, a, b, (low, high)) in enumerate(
            zip(ours.keys, ours().tolist(), theirs().tolist(), bounds, strict=True)
        )
        if key in first.metrics and not np.isnan(low)
    }


def check_bins(edges: Sequence[float]) -> tuple[float, ...]:
    """The edges; raises InputError unless they are two or more, ascending, within 0..1."""
    if len(edges) < 2 or list(edges) != sorted(set(edges)) or edges[0] < 0 or edges[-1] > 1:
        raise UsageError(
            f"crowding_bins {' '.join(f'{edge:g}' for edge in edges)}: give two or more edges, "
            "ascending, within 0..1"
        )
    return tuple(edges)


def box_iou_of_images(dataset: Dataset, image_ids: np.ndarray) -> np.ndarray:
    """`mean_box_iou` of every image [I], crowd regions left out."""
    boxes: dict[int, list[Sequence[float]]] = {int(i): [] for i in image_ids}
    for person in dataset["annotations"]:
        if not person["iscrowd"]:
            boxes[person["image_id"]].append(person["bbox"])
    return np.array([mean_box_iou(np.array(b, float).reshape(-1, 4)) for b in boxes.values()])


class _Bin(NamedTuple):
    """The images of a crowding bin, bool [I]."""

    low: float
    high: float
    mask: np.ndarray

    @property
    def key(self) -> str:
        return f"bin {self.low}"


def _bins(dataset: Dataset, matches: Matches, edges: Sequence[float]) -> list[_Bin]:
    crowding = box_iou_of_images(dataset, matches.image_ids)
    tops = (*edges[1:-1], np.nextafter(edges[-1], 2))  # the last bin includes its end
    return [
        _Bin(low, high, (low <= crowding) & (crowding < top))
        for low, high, top in zip(edges[:-1], edges[1:], tops, strict=True)
    ]


def _crowding_bin(
    bin: _Bin, matches: Matches, figures: Mapping[str, float], spread: Mapping[str, Interval]
) -> CrowdingBin:
    ap = figures[f"AP_{bin.key}"]
    return CrowdingBin(
        low=bin.low,
        high=bin.high,
        images=int(bin.mask.sum()),
        people=int(matches.people[bin.mask].sum()),
        AP=None if np.isnan(ap) else float(ap),
        interval=spread.get(f"AP_{bin.key}"),
    )


class _Figures:
    """All figures made of whole images, as one function of how often each image occurs."""

    def __init__(self, matches: Matches, subsets: Mapping[str, np.ndarray]):
        self.keys = (*SUMMARY_KEYS, *(f"AP_{name}" for name in subsets))
        self._all = matches
        self._subsets = [matches.subset(mask) for mask in subsets.values()]

    def __call__(self, weights: np.ndarray | None = None) -> np.ndarray:
        of_subsets = [subset.summary(weights)[0] for subset in self._subsets]
        return np.concatenate([self._all.summary(weights), of_subsets])


def _levels(dataset: Dataset, matches: Matches) -> dict[str, np.ndarray]:
    """Masks bool [I] of CrowdPose's easy, medium and hard images; none without crowdIndex."""
    levels = crowding_levels(dataset)
    return {name: np.isin(matches.image_ids, ids) for name, ids in levels.items() if ids}


def _intervals(
    figures: _Figures, num_images: int, resamples: int, seed: int
) -> dict[str, Interval]:
    if resamples == 0 or num_images == 0:
        return {}
    bounds = interval(bootstrap(figures, num_images, resamples=resamples, seed=seed))
    return {
        key: (float(low), float(high))
        for key, (low, high) in zip(figures.keys, bounds, strict=True)
        if not np.isnan(low)
    }
