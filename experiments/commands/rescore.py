"""`pinet-jax rescore`: DEKR's network that scores poses, trained on DEKR's own poses."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from data_pipelines.annotations import Reading, read_results
from experiments.commands.flags import check_new
from experiments.testing.ground_truth import read_ground_truth
from experiments.training.rescoring import RescoringTraining, train_rescoring
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.coco import best_oks
from pinet_jax.evaluation.dataset import metric_of
from pinet_jax.methods.dekr import DEKR
from pinet_jax.networks.rescoring import rescoring_of


def main(
    *,
    checkpoint: Path,
    results: Path,
    annotations: Path,
    out: Path,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading(),
    training: RescoringTraining = RescoringTraining(),
) -> None:
    """Trains DEKR's network that scores poses, and writes a checkpoint that has it.

    It learns from the poses that DEKR finds in its training images: evaluate them first.

    Example: pinet-jax rescore --checkpoint runs/dekr --results runs/train.results.json
    --annotations train.json --out runs/dekr_rescored

    Args:
        checkpoint: a trained DEKR.
        results: its poses of the training images, as `evaluate` writes them.
        annotations: the ground truth of these images, in COCO's format.
        out: the new checkpoint's folder.
        reading: how the annotations are to be understood.
        training: the recipe.
    """
    check_new(out)
    model = load_model(checkpoint)
    method = model.method
    if not isinstance(method, DEKR):
        raise UsageError(
            f"--checkpoint {checkpoint}: holds a {type(method).__name__}; DEKR alone has a network "
            "that scores poses"
        )
    dataset = read_ground_truth(annotations, metric_of(method.skeleton), method.skeleton)
    poses = read_results(results, dataset, method.skeleton)
    if not poses:
        raise InputError(f"{results}: has no poses to learn from")
    oks = best_oks(dataset, poses, method.skeleton)
    keypoints = np.array([pose["keypoints"] for pose in poses]).reshape(len(poses), -1, 3)
    rescoring = method.rescoring or rescoring_of(method.skeleton)
    params, errors = train_rescoring(rescoring, keypoints, oks, training)
    print(
        f"{len(poses)} poses, OKS {oks.mean():.3f} on average; mean squared error "
        f"{errors[0]:.4f} in the first epoch, {errors[-1]:.4f} in the last, "
        f"{oks.var():.4f} of the average alone"
    )
    variables: dict[str, Any] = dict(model.variables)
    variables["params"] = {**variables["params"], "rescoring": params}
    save_model(out, dataclasses.replace(method, rescoring=rescoring), variables, model.inference)
    print(f"{out}: the weights of {checkpoint}, with the network that scores poses")
