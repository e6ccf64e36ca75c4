"""Poses -> figures, table and report: what `score` and `evaluate` have in common."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data_pipelines.annotations import read_results
from pinet_jax.errors import UsageError
from pinet_jax.evaluation.coco import Evaluation
from pinet_jax.evaluation.dataset import Dataset, Metric
from pinet_jax.evaluation.summary import (
    CROWDING_BINS,
    Difference,
    Summary,
    check_bins,
    evaluate,
    paired_differences,
    summarize,
)
from pinet_jax.evaluation.tables import to_json, to_text
from pinet_jax.files import write_whole
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class ScoreOptions:
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


def check_score_options(out: Path, options: ScoreOptions) -> None:
    """Refuses values that would fail only after all poses were found."""
    if out.suffix != ".json":
        raise UsageError(f"--out {out}: must end in .json; other files go beside it")
    check_bins(options.crowding_bins)
    least = 1 if options.compare else 0
    if options.resamples < least:
        raise UsageError(f"--resamples {options.resamples}: give {least} or more")
    if options.gallery_size < 0:
        raise UsageError(f"--gallery-size {options.gallery_size}: give 0 or more")


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
    stages: Callable[[Sequence[int]], Mapping[int, Mapping[str, Any]]] | None = None
    speed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    paper: Mapping[str, float] = dataclasses.field(default_factory=dict)


class _Scored(NamedTuple):
    """Poses with everything that was computed of them."""

    dataset: Dataset
    results: Sequence[dict[str, Any]]
    skeleton: Skeleton
    evaluation: Evaluation
    summary: Summary
    differences: Mapping[str, Difference] | None


def score_poses(
    dataset: Dataset,
    results: Sequence[dict[str, Any]],
    metric: Metric,
    skeleton: Skeleton,
    *,
    out: Path,
    source: Source,
    options: ScoreOptions,
) -> dict[str, Any]:
    """Scores checked results, prints the table, and writes everything that was asked for.

    Args:
        dataset: from `ground_truth`.
        results: checked result entries.
        metric: coco or crowdpose.
        skeleton: of both.
        out: the JSON file; the table goes beside it as `.txt`.
        source: what the poses are.
        options: what to make of them.

    Returns:
        What the JSON file holds.
    """
    evaluation = evaluate(dataset, results, metric, skeleton)
    summary = summarize(
        dataset,
        results,
        evaluation,
        metric,
        crowding_bins=options.crowding_bins,
        resamples=options.resamples,
        seed=options.seed,
    )
    differences = None
    if options.compare is not None:
        differences = _compare(dataset, evaluation, metric, skeleton, options)
        protocol = {**source.protocol, "compared with": str(options.compare)}
        source = dataclasses.replace(source, protocol=protocol)
    scored = _Scored(dataset, results, skeleton, evaluation, summary, differences)
    # Reading pictures can fail, and so comes before anything is written.
    page = None if options.report is None else _page(scored, source, options)
    figures = _write_figures(scored, source, out)
    if options.report is not None and page is not None:
        write_whole(options.report, page)
    return figures


def _compare(
    dataset: Dataset,
    evaluation: Evaluation,
    metric: Metric,
    skeleton: Skeleton,
    options: ScoreOptions,
) -> dict[str, Difference]:
    assert options.compare is not None
    other = read_results(options.compare, dataset, skeleton)
    return paired_differences(
        dataset,
        evaluation,
        evaluate(dataset, other, metric, skeleton),
        resamples=options.resamples,
        seed=options.seed,
    )


def _write_figures(scored: _Scored, source: Source, out: Path) -> dict[str, Any]:
    figures = {
        **to_json(scored.summary, scored.differences),
        "protocol": dict(source.protocol),
        "speed": dict(source.speed),
    }
    table = to_text(scored.summary, scored.differences)
    words = [f"{name}: {text}" for name, text in {**source.protocol, **source.speed}.items()]
    print(table)
    write_whole(out.with_suffix(".txt"), "\n".join([*words, "", table]) + "\n")
    write_whole(out, json.dumps(figures, indent=1, allow_nan=False) + "\n")
    return figures


def _page(scored: _Scored, source: Source, options: ScoreOptions) -> str:
    """The report; what it needs is imported here, for figures alone are to come at once."""
    from pinet_jax.evaluation.keypoint_errors import keypoint_errors
    from pinet_jax.evaluation.matching import best_f1_score
    from pinet_jax.evaluation.report import gallery, page

    matches = scored.evaluation.matches
    chosen = gallery.choose_images(matches, options.gallery_size, seed=options.seed)
    return page.render(
        page.Report(
            title=source.title,
            protocol=source.protocol,
            summary=scored.summary,
            precision=scored.evaluation.precision,
            errors=keypoint_errors(scored.dataset, scored.results, matches, scored.skeleton),
            skeleton=scored.skeleton,
            references=source.paper,
            speed=source.speed,
            differences=scored.differences,
            gallery=gallery.gallery(
                scored.dataset,
                scored.results,
                matches,
                scored.skeleton,
                chosen,
                read_image=source.read_image,
                stages=source.stages(list(chosen)) if source.stages else None,
                name=source.layer,
            ),
            shown_score=best_f1_score(matches),
        )
    )
