"""A checkpoint on a set of images: its poses, then their figures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax

from data_pipelines.annotations import check_results
from experiments.testing import split_prediction
from experiments.testing.chosen_network import ChosenNetwork
from experiments.testing.image_sets import EvaluationSet, SetSource
from experiments.testing.people_boxes import check_boxes_flag, with_boxes
from experiments.testing.scoring import ScoreOptions, Source, score_poses
from experiments.testing.split_prediction import Timing
from pinet_jax.evaluation.dataset import Metric, metric_of
from pinet_jax.evaluation.result_files import Entry, write_results, write_submission
from pinet_jax.image_batches import MEMORY_ADVICE
from pinet_jax.inference import Predictor
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.runtime import memory_advice

_RULES = {"coco": "COCO's, annotated areas", "crowdpose": "CrowdPose's, 0.53 of the box as area"}


@dataclasses.dataclass(frozen=True)
class CheckpointTest:
    """Which network is tested on what, and how.

    Attributes:
        network: the one.
        source: a `completed` source of images.
        inference: the test procedure.
        batch_size: images of one size at a time, of all devices of this process together.
        metric: the network's own if None.
        submission: what COCO's server is to call the system; None writes no archive for it.
        boxes: a file of people's boxes, for methods that need them; the annotations' own if None.
    """

    network: ChosenNetwork
    source: SetSource
    inference: InferenceConfig
    batch_size: int
    metric: Metric | None = None
    submission: str | None = None
    boxes: Path | None = None

    def identity(self, tested: EvaluationSet) -> dict[str, Any]:
        """What decides the poses: a killed run's are taken up only by the same test."""
        return {
            "checkpoint": str(self.network.checkpoint.resolve()),
            "written": self.network.checkpoint.stat().st_mtime_ns,
            "annotations": str(tested.file.resolve()),
            "inference": dataclasses.asdict(self.inference),
            "boxes": None if self.boxes is None else str(self.boxes.resolve()),
        }


def evaluate_checkpoint(test: CheckpointTest, out: Path, options: ScoreOptions) -> None:
    """Finds the poses in all processes; the first one writes and scores them.

    Args:
        test: what to do.
        out: the JSON file; the table and the poses go beside it.
        options: what to make of the poses.

    Raises:
        InputError: the checkpoint, the ground truth or a picture is at fault.
    """
    model = test.network.read()
    skeleton = model.method.skeleton
    check_boxes_flag(model.method, test.boxes)
    tested = with_boxes(test.source.open(skeleton), model.method, test.boxes)
    metric = test.metric or metric_of(skeleton)
    # Read before the network runs: a fault is to show now, not after an hour.
    dataset = tested.ground_truth(metric) if tested.annotated else None
    predictor = Predictor(model.method, model.variables, test.inference, jax.local_devices())
    stem = out.with_suffix("")
    with memory_advice(MEMORY_ADVICE.format(test.batch_size)):
        found = split_prediction.predict_together(
            tested.images,
            predictor,
            stem,
            test.identity(tested),
            batch_size=test.batch_size,
            category_id=dataset["categories"][0]["id"] if dataset else 1,
        )
    if found is not None:
        results, timing = found
        _write_poses(out, results, tested, test.submission)
        if dataset is not None:
            checked = check_results(results, dataset, skeleton)
            source = _source(test, tested, metric, predictor, timing)
            score_poses(dataset, checked, metric, skeleton, out=out, source=source, options=options)
        split_prediction.discard_partial(stem)
    split_prediction.wait_for_all("the figures")


def _source(
    test: CheckpointTest,
    tested: EvaluationSet,
    metric: Metric,
    predictor: Predictor,
    timing: Timing,
) -> Source:
    images, experiment = tested.images, test.network.experiment
    return Source(
        title=f"{type(predictor.method).__name__} on {tested.name}",
        protocol=_protocol(test, tested, metric),
        layer=predictor.method.stages[-1],
        read_image=lambda entry: images.read(images.ids.index(entry["id"])),
        stages=lambda image_ids: split_prediction.predict_stages(
            images, image_ids, predictor, batch_size=test.batch_size
        ),
        speed=_speed(timing, test.batch_size),
        paper=experiment.paper.figures if experiment and experiment.paper else {},
    )


def _write_poses(
    out: Path, results: Sequence[Entry], tested: EvaluationSet, submission: str | None
) -> None:
    """Writes the result file and, where it is asked for, the server's archive."""
    file = out.with_suffix(".results.json")
    write_results(file, results)
    print(f"{file}: images {len(tested.images.ids)}, poses {len(results)}")
    if submission is not None:
        # The split as COCO's server calls it, from the name of its own file.
        split = tested.file.stem.removeprefix("image_info_").removeprefix("person_keypoints_")
        print(write_submission(out.parent, results, split, submission))


def _protocol(test: CheckpointTest, tested: EvaluationSet, metric: Metric) -> dict[str, str]:
    """What was measured, in words, so that protocols are never mixed in a table."""
    procedure = dataclasses.asdict(test.inference)
    return {
        "checkpoint": str(test.network.checkpoint),
        "trained on": test.network.trained_on,
        "tested on": f"{tested.name}, {len(tested.images.ids)} images",
        "ground-truth boxes": "none" if tested.images.boxes is None or test.boxes else "all",
        **({} if test.boxes is None else {"boxes": str(test.boxes)}),
        **{name.replace("_", " "): _in_words(value) for name, value in procedure.items()},
        "metric": _RULES[metric],
    }


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(f"{v:g}" for v in value) if isinstance(value, tuple) else f"{value}"


def _speed(timing: Timing, batch_size: int) -> dict[str, str]:
    """Of the first process; there may be others."""
    devices = jax.local_devices()
    words = {
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "batch": f"images of one size, {batch_size} at a time at most",
        "time": f"{timing.seconds:.1f} s for {timing.images} images, compilation included",
    }
    if timing.images_per_second is not None:
        words["images/s"] = f"{timing.images_per_second:.2f}, reading and poses included"
    if jax.process_count() > 1:
        words["processes"] = f"{jax.process_count()}; the figures are the first one's"
    return words
