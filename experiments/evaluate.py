"""`pinet-jax evaluate`: a checkpoint or a result file -> the paper's figures, with pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from experiments.scoring import DEFAULT_SCORING, Scoring, Source, check_scoring, score
from pinet_jax.errors import UsageError
from pinet_jax.evaluation.result_files import Entry, write_results, write_submission
from pinet_jax.evaluation.results import Metric, read_annotations, read_images, read_results
from pinet_jax.evaluation.summary import SKELETONS, metric_of
from pinet_jax.images import read_image
from pinet_jax.skeletons import Skeleton

if TYPE_CHECKING:  # scoring a file waits for neither JAX nor the reader of records
    from experiments.chosen_network import ChosenNetwork
    from experiments.configs.base import ExperimentConfig
    from experiments.split_prediction import ImageSet, Timing
    from pinet_jax.inference import Predictor

# The paper's tables by experiment, fractions.
PAPER: dict[str, dict[str, float]] = {
    "ochuman": {"AP": 0.598, "AP50": 0.749, "AP75": 0.659},
    "crowdpose": {
        "AP": 0.689, "AP50": 0.887, "AP75": 0.747,
        "AP_easy": 0.754, "AP_medium": 0.696, "AP_hard": 0.615,
    },
    "coco": {"AP": 0.674},
}  # fmt: skip


def main(
    *,
    out: Path,
    results: Path | None = None,
    annotations: Path | None = None,
    images: Path | None = None,
    metric: Metric | None = None,
    skeleton: Path | None = None,
    checkpoint: Path | None = None,
    config: str | None = None,
    dataset: Path | None = None,
    split: str | None = None,
    data_dir: Path | None = None,
    input_size: int | None = None,
    scales: tuple[float, ...] = (1.0,),
    flip: bool = True,
    refinement: bool = True,
    fusion: bool = True,
    batch_size: int | None = None,
    submission: str | None = None,
    distributed: bool = False,
    scoring: Scoring = DEFAULT_SCORING,
) -> None:
    """Scores a checkpoint, or anybody's result file, and prints the table.

    A result file: --results and --annotations. A checkpoint: --checkpoint (without it, the small
    network that comes with the package), and either --dataset and --split as prepared, or
    --annotations and --images. Its poses are kept as they come, and the
    same command goes on from them after it was killed. Without annotations in the file (test-dev)
    there are no figures, only the result file.

    Args:
        out: the figures as JSON, fractions. Beside it, under the same name: the table (.txt), and a
            checkpoint's poses (.results.json).
        results: poses in COCO's result format, from any system.
        annotations: the ground truth in COCO's format.
        images: the folder of its pictures. Without it, the report's gallery of a result file draws
            poses on an empty ground.
        metric: coco (also for OCHuman and custom sets) or crowdpose; a checkpoint's own by default.
        skeleton: a result file's keypoint set, whose sigmas to use; by default the metric's own, of
            17 or 14.
        checkpoint: the model, as written by `train`, `convert` or `export`.
        config: the experiment it belongs to: names its dataset and split, and the paper's figures.
        dataset: a prepared dataset's name or folder.
        split: of the dataset.
        data_dir: where `prepare` wrote, if not where it does by default.
        input_size: pixels of an image's short side for the network, rounded up to 64s; by default
            the experiment's, 512 where none is named.
        scales: test scales; the paper's multi-scale test is 0.5 1 2.
        flip: average with the mirrored image: better, and twice as slow.
        refinement: correct poses by the graph network; otherwise they stay as they were found.
        fusion: fuse a person's candidates into one pose; otherwise the best candidate stays.
        batch_size: images of one size at a time, shared by all devices of a process; by default one
            for each on CPUs and eight elsewhere.
        submission: also write the archive for COCO's server, with this name of the system.
        distributed: this is one process of several, which find each other through SLURM, MPI,
            Kubernetes or a TPU pod, and which all see the folder of --out.
        scoring: what to make of the poses.
    """
    if out.suffix != ".json":
        raise UsageError(f"--out {out}: must end in .json; other files go beside it")
    check_scoring(scoring)
    if results is not None:
        _refuse("--results", checkpoint=checkpoint)
        if annotations is None or metric is None:
            raise UsageError("--results needs --annotations and --metric")
        _refuse("--results", config=config, dataset=dataset, split=split, data_dir=data_dir)
        _refuse("--results", batch_size=batch_size, submission=submission)
        _refuse("--results", distributed=distributed or None)
        _score_file(results, annotations, images, metric, skeleton, out, scoring)
        return
    _refuse("a network", skeleton=skeleton)
    if annotations is not None:
        _refuse("--annotations", dataset=dataset, split=split, data_dir=data_dir)
    if distributed:
        _join_processes()
    from experiments.chosen_network import choose_network

    network = choose_network(
        checkpoint,
        config,
        input_size=input_size,
        scales=scales,
        flip=flip,
        refinement=refinement,
        fusion=fusion,
    )
    test = _CheckpointTest(
        network,
        config,
        open_test_set(annotations, images, dataset, split, data_dir, network.experiment),
        _checked_batch_size(batch_size),
    )
    _run_checkpoint(test, metric, submission, out, scoring)


def _refuse(flag: str, **others: object) -> None:
    """Refuses flags that would be ignored."""
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"--{name.replace('_', '-')} does not go with {flag}; leave one out")


def _join_processes() -> None:
    import jax

    # It would take SIGTERM for a wish to save; here every pose is saved as it comes.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize()


def _checked_batch_size(batch_size: int | None) -> int:
    import jax

    from pinet_jax.inference import default_batch_size

    if batch_size is None:
        return default_batch_size(jax.local_devices())
    if batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    return batch_size


def _score_file(
    results: Path,
    annotations: Path,
    images: Path | None,
    metric: Metric,
    skeleton: Path | None,
    out: Path,
    scoring: Scoring,
) -> None:
    keypoint_set = Skeleton.from_json(skeleton) if skeleton else SKELETONS[metric]
    dataset = read_annotations(annotations, metric, keypoint_set)

    def picture(entry: Mapping[str, Any]) -> np.ndarray:
        assert images is not None
        # The annotations' coordinates are those of the stored pixels.
        return read_image(images / entry["file_name"], ignore_orientation=True)

    score(
        dataset,
        read_results(results, dataset, keypoint_set),
        metric,
        keypoint_set,
        out=out,
        source=Source(
            title=results.stem,
            protocol={"results": str(results), "annotations": str(annotations)},
            read_image=picture if images else None,
        ),
        scoring=scoring,
    )


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """What a checkpoint is tested on.

    Attributes:
        name: for the reader.
        images: all of it.
        annotations: the COCO-format file that lists them.
        annotated: whether it has annotations, and so figures; test-dev's has none.
    """

    name: str
    images: ImageSet
    annotations: Path
    annotated: bool


def open_test_set(
    annotations: Path | None,
    images: Path | None,
    dataset: Path | None,
    split: str | None,
    data_dir: Path | None,
    experiment: ExperimentConfig | None,
) -> EvaluationSet:
    """A prepared split, or a file of annotations with its folder of images.

    Raises:
        InputError: neither is named whole, or it is not there.
    """
    from data_pipelines.records import open_split
    from experiments.split_prediction import ImageSet

    if annotations is not None:
        if images is None:
            raise UsageError("--checkpoint with --annotations needs --images, their folder")
        entries, annotated = read_images(annotations)
        found = ImageSet.of_folder(entries, images)
        return EvaluationSet(annotations.stem, found, annotations, annotated)
    if experiment is not None and experiment.synthetic is None:
        dataset = dataset or Path(experiment.data.dataset)
        split = split or experiment.data.eval_split
    if dataset is None or split is None:
        raise UsageError(
            "name what to test on: --dataset and --split as prepared, --config, or "
            "--annotations and --images"
        )
    records = open_split(dataset, split, data_dir)
    name = f"{dataset} {split}"
    return EvaluationSet(name, ImageSet.of_split(records), records.annotations_file, annotated=True)


@dataclasses.dataclass(frozen=True)
class _CheckpointTest:
    """Which network is tested on what, and how."""

    network: ChosenNetwork
    config: str | None
    on: EvaluationSet
    batch_size: int

    def sizes(self) -> dict[str, int]:
        """What the predictor's programs are compiled for."""
        return {"input_size": self.network.inference.input_size, "batch_size": self.batch_size}

    def identity(self) -> dict[str, Any]:
        """What decides the poses: a killed run's are taken up only by the same test."""
        return {
            "checkpoint": str(self.network.checkpoint.resolve()),
            "written": self.network.checkpoint.stat().st_mtime_ns,
            "annotations": str(self.on.annotations.resolve()),
            "inference": dataclasses.asdict(self.network.inference),
        }


def _run_checkpoint(
    test: _CheckpointTest,
    metric: Metric | None,
    submission: str | None,
    out: Path,
    scoring: Scoring,
) -> None:
    """Finds the poses in all processes; the first one writes and scores them."""
    import jax

    from experiments import split_prediction
    from pinet_jax.checkpoints import load_model
    from pinet_jax.inference import Predictor
    from pinet_jax.runtime import use_user_cache

    use_user_cache()
    experiment = test.network.experiment
    model, variables, _ = load_model(
        test.network.checkpoint, experiment.model if experiment else None
    )
    metric = metric or metric_of(model.skeleton)
    # Read before the network runs: a fault is to show now, not after an hour.
    dataset = (
        read_annotations(test.on.annotations, metric, model.skeleton) if test.on.annotated else None
    )
    category_id = dataset["categories"][0]["id"] if dataset else 1
    predictor = Predictor(model, variables, test.network.inference, jax.local_devices())
    stem = out.with_suffix("")
    found = split_prediction.predict_together(
        test.on.images, predictor, stem, test.identity(), category_id=category_id, **test.sizes()
    )
    if found is not None:
        results, timing = found
        file = _write_poses(out, results, test.on, submission)
        if dataset is not None:
            checked = read_results(file, dataset, model.skeleton)
            source = _source(test, metric, predictor, timing)
            score(dataset, checked, metric, model.skeleton, out=out, source=source, scoring=scoring)
        split_prediction.discard_partial(stem)
    split_prediction.wait_for_all("the figures")


def _source(test: _CheckpointTest, metric: Metric, predictor: Predictor, timing: Timing) -> Source:
    from experiments.split_prediction import predict_stages

    images = test.on.images
    return Source(
        title=f"PINet on {test.on.name}",
        protocol=_protocol(test, metric),
        layer="fused" if test.network.inference.fusion else "result",
        read_image=lambda entry: images.read(images.ids.index(entry["id"])),
        stages=lambda image_ids: predict_stages(images, image_ids, predictor, **test.sizes()),
        speed=_speed(timing, test.batch_size),
        paper=PAPER.get(test.config or "", {}),
    )


def _write_poses(
    out: Path, results: Sequence[Entry], tested: EvaluationSet, submission: str | None
) -> Path:
    """Writes the result file and, where it is asked for, the server's archive."""
    file = out.with_suffix(".results.json")
    write_results(file, results)
    print(f"{file}: images {len(tested.images.ids)}, poses {len(results)}")
    if submission is not None:
        print(write_submission(out.parent, results, _server_name(tested.annotations), submission))
    return file


def _protocol(test: _CheckpointTest, metric: Metric) -> dict[str, str]:
    """What was measured, in words, so that protocols are never mixed in a table."""
    rules = {
        "coco": "COCO's, annotated areas",
        "crowdpose": "CrowdPose's, 0.53 of the box as area",
    }
    return {
        "checkpoint": str(test.network.checkpoint),
        "trained on": test.network.trained_on,
        "tested on": f"{test.on.name}, {len(test.on.images.ids)} images",
        "ground-truth boxes": "none",
        "input": f"short side {test.network.inference.input_size}",
        "scales": ", ".join(f"{scale:g}" for scale in test.network.inference.scales),
        "flip": "yes" if test.network.inference.flip else "no",
        "pose refinement": "yes" if test.network.inference.refinement else "no",
        "pose fusion": "yes" if test.network.inference.fusion else "no",
        "metric": rules[metric],
    }


def _speed(timing: Timing, batch_size: int) -> dict[str, str]:
    """Of the first process; there may be others."""
    import jax

    devices = jax.local_devices()
    words = {
        "device": f"{len(devices)} x {devices[0].device_kind}",
        "batch": f"up to {batch_size} images of one size",
        "time": f"{timing.seconds:.1f} s for {timing.images} images, compilation included",
    }
    if timing.images_per_second is not None:
        words["images/s"] = f"{timing.images_per_second:.2f}, reading and poses included"
    if jax.process_count() > 1:
        words["processes"] = f"{jax.process_count()}; the figures are the first one's"
    return words


def _server_name(annotations: Path) -> str:
    """The split as COCO's server calls it, from the name of its own file."""
    return annotations.stem.removeprefix("image_info_").removeprefix("person_keypoints_")
