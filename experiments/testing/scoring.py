"""Poses -> figures, table and report: what `evaluate` does with a result file or a checkpoint."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinet_jax.errors import UsageError
from pinet_jax.evaluation import report as pages
from pinet_jax.evaluation.coco import Evaluation
from pinet_jax.evaluation.keypoint_errors import keypoint_errors
from pinet_jax.evaluation.matching import best_f1_score
from pinet_jax.evaluation.results import Dataset, Metric, read_results
from pinet_jax.evaluation.summary import (
    CROWDING_BINS,
    Difference,
    Summary,
    check_bins,
    evaluate,
    paired_differences,
    summarize,
    to_json,
    to_text,
)
from pinet_jax.files import write_whole
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class Scoring:
    """What to make of the poses.

    Attributes:
        compare: a second result file; adds the differences, paired over images.
        report: an HTML page to write, with charts and a gallery.
        gallery_size: the best, the worst and random images, so many each; 0 leaves them out.
        crowding_bins: edges of the bins of mean box IoU; the paper's are 0.5 0.6 0.7 0.8 0.9 1.
        resamples: of the images, for the 95% intervals; 0 leaves them out.
        seed: of the resamples and of the gallery's random images.
    """

    compare: Path | None = None
    report: Path | None = None
    gallery_size: int = 8
    crowding_bins: tuple[float, ...] = CROWDING_BINS
    resamples: int = 1000
    seed: int = 0


DEFAULT_SCORING = Scoring()


def check_scoring(scoring: Scoring) -> None:
    """Refuses values that would fail only after all poses were found."""
    check_bins(scoring.crowding_bins)
    least = 1 if scoring.compare else 0
    if scoring.resamples < least:
        raise UsageError(f"--resamples {scoring.resamples}: give {least} or more")
    if scoring.gallery_size < 0:
        raise UsageError(f"--gallery-size {scoring.gallery_size}: give 0 or more")


@dataclasses.dataclass(frozen=True)
class Source:
    """Where the poses come from, for whoever reads the figures.

    Attributes:
        title: the report's heading.
        protocol: what was measured, in words, by name; stored and shown.
        layer: what the gallery calls the poses.
        read_image: from an entry of the annotations' images to its pixels, uint8 [H, W, 3]; None
            for poses on an empty ground.
        stages: from ids of the gallery's images to their poses before the result, by name.
        speed: timing in words, by name.
        paper: the paper's figures as fractions, shown beside these.
    """

    title: str
    protocol: Mapping[str, str]
    layer: str = "result"
    read_image: Callable[[Mapping[str, Any]], np.ndarray] | None = None
    stages: Callable[[Sequence[int]], Mapping[int, Mapping[str, pages.Poses]]] | None = None
    speed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)


def score(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    metric: Metric,
    skeleton: Skeleton,
    *,
    out: Path,
    source: Source,
    scoring: Scoring,
) -> dict[str, Any]:
    """Scores checked results, prints the table, and writes everything that was asked for.

    Args:
        dataset: from `read_annotations`.
        results: from `read_results`.
        metric: coco or crowdpose.
        skeleton: of both.
        out: the JSON file; the table goes beside it as `.txt`.
        source: what the poses are.
        scoring: what to make of them.

    Returns:
        What the JSON file holds.
    """
    evaluation = evaluate(dataset, results, metric, skeleton)
    summary = summarize(
        dataset,
        results,
        evaluation,
        metric,
        crowding_bins=scoring.crowding_bins,
        resamples=scoring.resamples,
        seed=scoring.seed,
    )
    differences = None
    if scoring.compare is not None:
        other = read_results(scoring.compare, dataset, skeleton)
        differences = paired_differences(
            dataset,
            evaluation,
            evaluate(dataset, other, metric, skeleton),
            resamples=scoring.resamples,
            seed=scoring.seed,
        )
        protocol = {**source.protocol, "compared with": str(scoring.compare)}
        source = dataclasses.replace(source, protocol=protocol)

    # All that can fail is made before anything is written.
    page = None
    if scoring.report is not None:
        content = _report(
            dataset, results, skeleton, source, scoring, evaluation, summary, differences
        )
        page = pages.render(content)
    figures = {
        **to_json(summary, differences),
        "protocol": dict(source.protocol),
        "speed": dict(source.speed),
    }
    table = to_text(summary, differences)
    words = [f"{name}: {text}" for name, text in {**source.protocol, **source.speed}.items()]
    print(table)
    write_whole(out.with_suffix(".txt"), "\n".join([*words, "", table]) + "\n")
    if scoring.report is not None and page is not None:
        write_whole(scoring.report, page)
    write_whole(out, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    return figures


def _report(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    skeleton: Skeleton,
    source: Source,
    scoring: Scoring,
    evaluation: Evaluation,
    summary: Summary,
    differences: Mapping[str, Difference] | None,
) -> pages.Report:
    chosen = pages.choose_images(evaluation, scoring.gallery_size, seed=scoring.seed)
    return pages.Report(
        title=source.title,
        protocol=source.protocol,
        summary=summary,
        precision=evaluation.precision,
        errors=keypoint_errors(dataset, results, evaluation.matches, skeleton),
        skeleton=skeleton,
        references=source.paper,
        speed=source.speed,
        differences=differences,
        gallery=pages.gallery(
            dataset,
            results,
            evaluation,
            skeleton,
            chosen,
            read_image=source.read_image,
            stages=source.stages(list(chosen)) if source.stages else None,
            name=source.layer,
        ),
        shown_score=best_f1_score(evaluation.matches),
    )
