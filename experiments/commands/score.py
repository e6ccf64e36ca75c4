"""`pinet-jax score`: a result file of any system -> the paper's figures; without JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from data_pipelines.annotations import Reading, read_results
from experiments.testing.ground_truth import read_ground_truth
from experiments.testing.scoring import ScoreOptions, Source, check_score_options, score_poses
from pinet_jax.evaluation.dataset import SKELETONS, Metric
from pinet_jax.skeletons import Skeleton


def main(
    *,
    results: Path,
    annotations: Path,
    metric: Metric,
    out: Path,
    images: Path | None = None,
    skeleton: Path | None = None,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading(),
    options: Annotated[ScoreOptions, tyro.conf.arg(name="")] = ScoreOptions(),
) -> None:
    """Scores a result file of any system, and prints the table.

    Example: pinet-jax score --results R.json --annotations A.json --metric coco --out scores.json

    Args:
        results: poses in COCO's result format.
        annotations: the ground truth in COCO's format.
        metric: coco (also for OCHuman and custom sets) or crowdpose.
        out: the figures as JSON, fractions; the table goes beside it, as .txt.
        images: the folder of the pictures; without it, the report's gallery draws poses on an
            empty ground.
        skeleton: the keypoint set, whose sigmas to use; by default the metric's own, of 17 or 14.
        reading: how the annotations are to be understood.
        options: what to make of the poses.
    """
    check_score_options(out, options)
    keypoints = Skeleton.from_json(skeleton) if skeleton else SKELETONS[metric]
    dataset = read_ground_truth(annotations, metric, keypoints, images, reading)

    def picture(entry: Mapping[str, Any]) -> np.ndarray:
        from pinet_jax.images import read_image  # only the report's gallery needs OpenCV

        assert images is not None
        return read_image(images / entry["file_name"], ignore_orientation=not reading.upright)

    score_poses(
        dataset,
        read_results(results, dataset, keypoints),
        metric,
        keypoints,
        out=out,
        source=Source(
            title=results.stem,
            protocol={"results": str(results), "annotations": str(annotations)},
            read_image=picture if images else None,
        ),
        options=options,
    )
