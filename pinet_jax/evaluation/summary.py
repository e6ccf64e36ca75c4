"""All figures of one result file together: metrics, intervals, crowding, a paired comparison.

As a table to read and as JSON. Figures are fractions in JSON and percent in the table.

Legend for shapes: I images, M figures.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.bootstrap import bootstrap, interval
from pinet_jax.evaluation.coco import Evaluation, evaluate_coco
from pinet_jax.evaluation.crowding import mean_box_iou
from pinet_jax.evaluation.crowdpose import crowding_levels, evaluate_crowdpose
from pinet_jax.evaluation.matching import SUMMARY_KEYS, Matches
from pinet_jax.evaluation.results import Dataset, Metric
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton

SKELETONS: dict[Metric, Skeleton] = {"coco": COCO_17, "crowdpose": CROWDPOSE_14}
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
        people_of: of how many people the figures of one size are, by name.
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


def metric_of(skeleton: Skeleton) -> Metric:
    """The metric that a keypoint set is scored by: CrowdPose's own, COCO's for any other."""
    return "crowdpose" if skeleton.keypoints == CROWDPOSE_14.keypoints else "coco"


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
        InputError: the edges are not ascending within 0..1, or the resamples are negative.
    """
    edges = check_bins(crowding_bins)
    if resamples < 0:
        raise InputError(f"--resamples {resamples}: give 0 or more")
    matches = evaluation.matches
    crowding = box_iou_of_images(dataset, matches.image_ids)
    tops = (*edges[1:-1], np.nextafter(edges[-1], 2))  # the last bin includes its end
    bins = [
        (low, high, (low <= crowding) & (crowding < top))
        for low, high, top in zip(edges[:-1], edges[1:], tops, strict=True)
    ]
    parts = {**_levels(dataset, matches), **{f"bin {low}": mask for low, _, mask in bins}}
    figures = _Figures(matches, parts)
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
        crowding=tuple(
            CrowdingBin(
                low=low,
                high=high,
                images=int(mask.sum()),
                people=int(matches.people[mask].sum()),
                AP=None if np.isnan(once[f"AP_bin {low}"]) else float(once[f"AP_bin {low}"]),
                interval=spread.get(f"AP_bin {low}"),
            )
            for low, high, mask in bins
        ),
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
    parts = _levels(dataset, first.matches)
    ours, theirs = _Figures(first.matches, parts), _Figures(second.matches, parts)
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
            f"--crowding-bins {' '.join(f'{edge:g}' for edge in edges)}: give two or more edges, "
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


def to_json(
    summary: Summary, differences: Mapping[str, Difference] | None = None
) -> dict[str, Any]:
    """What `evaluate` writes: the metrics under their names, then everything around them."""
    content: dict[str, Any] = {
        **summary.metrics,
        "metric": summary.metric,
        "images": summary.images,
        "people": summary.people,
        "poses": summary.poses,
        "intervals": {key: list(bounds) for key, bounds in summary.intervals.items()},
        "interval_level": 0.95,
        "people_of": summary.people_of,
        "resamples": summary.resamples,
        "crowding": [dataclasses.asdict(part) for part in summary.crowding],
    }
    if differences is not None:
        content["comparison"] = {k: dataclasses.asdict(d) for k, d in differences.items()}
    return content


def to_text(summary: Summary, differences: Mapping[str, Difference] | None = None) -> str:
    """Tables for a terminal, in percent."""
    lines = [
        f"{summary.metric} keypoints: {summary.images} images, {summary.people} people, "
        f"{summary.poses} poses",
        "",
        f"{'':<16}{'%':>6}   95% interval",
    ]
    for key, figure in summary.metrics.items():
        note = people_note(summary, key) or _span(summary.intervals.get(key))
        lines.append(f"{key:<16}{percent(figure):>6}   {note}".rstrip())
    lines += ["", f"{'mean box IoU':<13}{'images':>8}{'people':>8}{'AP':>7}   95% interval"]
    for part in summary.crowding:
        lines.append(
            f"{bin_name(part.low, part.high):<13}{part.images:>8}{part.people:>8}"
            f"{percent(part.AP):>7}   {_span(part.interval)}".rstrip()
        )
    if differences is not None:
        lines += [
            "",
            f"{'compared':<13}{'this':>6}{'other':>7}{'diff':>7}   {'95% interval':<18}better in",
        ]
        lines += [
            f"{key:<13}{percent(d.first):>6}{percent(d.second):>7}{100 * d.difference:>+7.1f}"
            f"   {_span(d.interval, signed=True):<18}{100 * d.first_better:.0f}% of resamples"
            for key, d in differences.items()
        ]
    return "\n".join(lines)


def bin_name(low: float, high: float) -> str:
    """A crowding bin as tables write it."""
    return f"{low:g} - {high:g}"


def percent(figure: float | None) -> str:
    """A fraction as the paper's tables write it."""
    return "-" if figure is None else f"{100 * figure:.1f}"


def people_note(summary: Summary, key: str) -> str:
    """Of how many people a figure of one size is; empty for any other figure."""
    people = summary.people_of.get(key)
    return "" if people is None else "1 person" if people == 1 else f"{people:,} people"


def _span(bounds: Interval | None, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    return "" if bounds is None else f"{100 * bounds[0]:{form}} .. {100 * bounds[1]:{form}}"


class _Figures:
    """All figures made of whole images, as one function of how often each image occurs."""

    def __init__(self, matches: Matches, parts: Mapping[str, np.ndarray]):
        self.keys = (*SUMMARY_KEYS, *(f"AP_{name}" for name in parts))
        self._whole = matches
        self._parts = [matches.subset(mask) for mask in parts.values()]

    def __call__(self, weights: np.ndarray | None = None) -> np.ndarray:
        of_parts = [part.summary(weights)[0] for part in self._parts]
        return np.concatenate([self._whole.summary(weights), of_parts])


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
