"""`pinet-jax evaluate`: a checkpoint -> its poses and the paper's figures, with pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import tyro

from experiments.commands.flags import given
from experiments.processes import join_processes
from experiments.testing.checkpoint_evaluation import CheckpointTest, evaluate_checkpoint
from experiments.testing.chosen_network import choose_network, procedure_of
from experiments.testing.image_sets import SetSource
from experiments.testing.scoring import ScoreOptions, check_score_options
from pinet_jax.errors import UsageError
from pinet_jax.evaluation.dataset import Metric
from pinet_jax.inference import default_batch_size
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.runtime import use_user_cache


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The experiment's test procedure; a flag replaces one field of it."""
    checkpoint, config = given(arguments, "--checkpoint"), given(arguments, "--config")
    return {"inference": procedure_of(checkpoint, config)}


def main(
    *,
    out: Path,
    inference: Annotated[InferenceConfig, tyro.conf.arg(name="")],
    checkpoint: Path | None = None,
    config: str | None = None,
    source: Annotated[SetSource, tyro.conf.arg(name="")] = SetSource(),
    boxes: Path | None = None,
    metric: Metric | None = None,
    batch_size: int | None = None,
    submission: str | None = None,
    distributed: bool = False,
    distributed_timeout: int = 300,
    options: Annotated[ScoreOptions, tyro.conf.arg(name="")] = ScoreOptions(),
) -> None:
    """Tests a checkpoint, and prints the table. (A result file: `pinet-jax score`.)

    The images: --dataset and --split as prepared, by default the experiment's, or --annotations and
    --images. Poses are kept as they come, and the same command goes on from them after it was
    killed.

    Example: pinet-jax evaluate --checkpoint runs/ochuman --config ochuman --out ochuman.json

    Args:
        out: the figures as JSON, fractions. Beside it, under the same name: the table (.txt) and
            the poses (.results.json).
        inference: the test procedure.
        checkpoint: the model, as written by `train`, `convert` or `export`; by default the small
            network that comes with the package.
        config: the experiment it belongs to: names its dataset and split, its test procedure, and
            the paper's figures.
        source: the images.
        boxes: people's boxes for a top-down network: a file of a detector's results, of another
            system's poses, or of annotations; by default the ground truth's, which is easier.
        metric: coco (also for OCHuman and custom sets) or crowdpose; the checkpoint's own by
            default.
        batch_size: images of one size at a time, shared by all devices of a process; by default one
            for each on CPUs and eight elsewhere.
        submission: also write the archive for COCO's server, with this name of the system.
        distributed: this is one process of several, which find each other through SLURM, MPI,
            Kubernetes or a TPU pod, and which all see the folder of --out.
        distributed_timeout: seconds to wait for the other processes.
        options: what to make of the poses.
    """
    check_score_options(out, options)
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    network = choose_network(checkpoint, config)
    source = source.completed(network.experiment)
    if distributed:
        # It would take SIGTERM for a wish to save; here every pose is saved as it comes.
        jax.config.update("jax_enable_preemption_service", False)
        join_processes(distributed_timeout)
    use_user_cache()
    batch_size = batch_size or default_batch_size(jax.local_devices())
    test = CheckpointTest(network, source, inference, batch_size, metric, submission, boxes)
    evaluate_checkpoint(test, out, options)
