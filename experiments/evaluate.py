"""`pinet-jax evaluate`: a result file -> the figures of the paper, with pictures."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.evaluation import report as pages
from pinet_jax.evaluation.coco import Evaluation
from pinet_jax.evaluation.keypoint_errors import keypoint_errors
from pinet_jax.evaluation.matching import best_f1_score
from pinet_jax.evaluation.results import Dataset, Metric, read_annotations, read_results
from pinet_jax.evaluation.summary import (
    CROWDING_BINS,
    SKELETONS,
    check_bins,
    evaluate,
    paired_differences,
    summarize,
    to_json,
    to_text,
)
from pinet_jax.images import read_image
from pinet_jax.skeletons import Skeleton

# Poses before the result, of the images chosen for the gallery: image id -> name -> poses.
Stages = Callable[[Sequence[int]], Mapping[int, Mapping[str, pages.Poses]]]


def main(
    *,
    results: Path,
    annotations: Path,
    metric: Metric,
    out: Path,
    skeleton: Path | None = None,
    compare: Path | None = None,
    report: Path | None = None,
    images: Path | None = None,
    gallery_size: int = 8,
    crowding_bins: tuple[float, ...] = CROWDING_BINS,
    resamples: int = 1000,
    seed: int = 0,
) -> None:
    """Scores a result file and prints the table.

    Args:
        results: poses in COCO's result format, from any system.
        annotations: the ground truth in COCO's format.
        metric: coco (also for OCHuman and custom sets) or crowdpose.
        out: the figures as JSON, fractions; the printed table goes beside it as text.
        skeleton: a skeleton file whose sigmas to use; the metric's own 17 or 14 without it.
        compare: a second result file; adds the differences, paired over images.
        report: an HTML page to write, with charts and a gallery.
        images: the folder with the pictures for the gallery; drawn on an empty ground without it.
        gallery_size: the best, the worst and random images, so many each; 0 leaves them out.
        crowding_bins: edges of the bins of mean box IoU; the paper's are 0.5 0.6 0.7 0.8 0.9 1.
        resamples: of the images, for the 95% intervals; 0 leaves them out.
        seed: of the resamples and of the gallery's random images.
    """
    check_bins(crowding_bins)
    if resamples < (1 if compare else 0):
        raise InputError(f"--resamples {resamples}: give {1 if compare else 0} or more")
    if out.suffix == ".txt":
        raise InputError(f"--out {out}: that name is for the table beside it; use .json")
    if gallery_size < 0:
        raise InputError(f"--gallery-size {gallery_size}: give 0 or more")
    keypoint_set = Skeleton.from_json(skeleton) if skeleton else SKELETONS[metric]
    dataset = read_annotations(annotations, metric, keypoint_set)
    score(
        dataset,
        read_results(results, dataset, keypoint_set),
        metric,
        keypoint_set,
        out=out,
        compare=compare,
        report=report,
        images=images,
        gallery_size=gallery_size,
        crowding_bins=crowding_bins,
        resamples=resamples,
        seed=seed,
        title=results.stem,
        protocol={"results": str(results), "annotations": str(annotations)},
    )


def score(
    dataset: Dataset,
    results: list[dict[str, Any]],
    metric: Metric,
    skeleton: Skeleton,
    *,
    out: Path,
    title: str,
    protocol: Mapping[str, str],
    compare: Path | None = None,
    report: Path | None = None,
    images: Path | None = None,
    gallery_size: int = 8,
    crowding_bins: Sequence[float] = CROWDING_BINS,
    resamples: int = 1000,
    seed: int = 0,
    layer: str = "result",
    stages: Stages | None = None,
    speed: Mapping[str, str] | None = None,
    references: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """Scores checked results, prints the table, and writes everything that was asked for.

    Args:
        dataset: from `read_annotations`.
        results: from `read_results`.
        metric: coco or crowdpose.
        skeleton: of both.
        out: the JSON file; the table goes beside it as `.txt`.
        title: the report's heading.
        protocol: what was measured, in words, by name; printed, stored and shown.
        compare: a second result file.
        report: the HTML page.
        images: the folder of the pictures.
        gallery_size: images a group.
        crowding_bins: edges.
        resamples: for the intervals.
        seed: of the resamples and the random images.
        layer: what the gallery calls the results.
        stages: gives the poses before the result for the gallery's images.
        speed: timing in words, by name.
        references: the paper's figures as fractions, shown beside these.

    Returns:
        What the JSON file holds.
    """
    evaluation = evaluate(dataset, results, metric, skeleton)
    summary = summarize(
        dataset,
        results,
        evaluation,
        metric,
        crowding_bins=crowding_bins,
        resamples=resamples,
        seed=seed,
    )
    differences = None
    if compare is not None:
        other = evaluate(dataset, read_results(compare, dataset, skeleton), metric, skeleton)
        differences = paired_differences(dataset, evaluation, other, resamples=resamples, seed=seed)
        protocol = {**protocol, "compared with": str(compare)}

    content = {
        **to_json(summary, differences),
        "protocol": dict(protocol),
        "speed": dict(speed or {}),
    }
    table = to_text(summary, differences)
    words = [f"{name}: {text}" for name, text in {**protocol, **(speed or {})}.items()]
    print(table)
    _write(out, json.dumps(content, indent=1, allow_nan=False) + "\n")
    _write(out.with_suffix(".txt"), "\n".join([*words, "", table]) + "\n")
    if report is not None:
        page = pages.Report(
            title=title,
            protocol=protocol,
            summary=summary,
            precision=evaluation.precision,
            errors=keypoint_errors(dataset, results, evaluation.matches, skeleton),
            skeleton=skeleton,
            references=references or {},
            speed=speed or {},
            differences=differences,
            gallery=_gallery(
                dataset, results, evaluation, skeleton, images, gallery_size, seed, layer, stages
            ),
            shown_score=best_f1_score(evaluation.matches),
        )
        _write(report, pages.render(page))
    return content


def _gallery(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    evaluation: Evaluation,
    skeleton: Skeleton,
    folder: Path | None,
    size: int,
    seed: int,
    layer: str,
    stages: Stages | None,
) -> tuple[pages.GalleryItem, ...]:
    chosen = pages.choose_images(evaluation, size, seed=seed)

    def picture(entry: Mapping[str, Any]) -> np.ndarray | None:
        if folder is None:
            return None
        # The annotations' coordinates are those of the stored pixels.
        return read_image(folder / entry["file_name"], ignore_orientation=True)

    return pages.gallery(
        dataset,
        results,
        evaluation,
        skeleton,
        chosen,
        read_image=picture,
        stages=stages(list(chosen)) if stages else None,
        name=layer,
    )


def _write(path: Path, text: str) -> None:
    """Writes a file whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written ({error.strerror})") from error
