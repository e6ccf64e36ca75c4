"""Small trainings on rendered crowds, each tested on the same crowds: what commands make tables of.

Nothing that is done already is done again, and a training goes on where it was stopped.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.commands import synthesize
from experiments.configs.base import ExperimentConfig
from experiments.testing.checkpoint_evaluation import CheckpointTest, evaluate_checkpoint
from experiments.testing.chosen_network import ChosenNetwork
from experiments.testing.image_sets import SetSource
from experiments.testing.scoring import ScoreOptions
from experiments.training.loop import train
from pinet_jax.errors import UsageError
from pinet_jax.inference import default_batch_size

_TEST_OPTIONS = ScoreOptions(crowding_bins=(0.0, 0.2, 0.4, 0.6, 1.0), resamples=0)


class RenderedSet(NamedTuple):
    """Crowds that nobody is trained on."""

    annotations: Path
    images: Path
    figures: Path  # of everything tested on it


def rendered_test_set(
    base: ExperimentConfig, out: Path, *, images: int, seed: int, trained: tuple[int, ...]
) -> RenderedSet:
    """The crowds of a seed, rendered where they are not there yet.

    Args:
        base: the synthetic experiment whose crowds they are like.
        out: the folder of everything.
        images: how many.
        seed: of them.
        trained: the seeds of the trainings.

    Raises:
        UsageError: trainings would see these crowds.
    """
    assert base.synthetic is not None
    if seed in trained:
        raise UsageError(f"--test-seed {seed}: is one of --seeds, whose crowds are trained on")
    folder = out / f"seed{seed}_{images}images"
    annotations = folder / "annotations" / "person_keypoints_val.json"
    if not annotations.is_file():
        crowds = dataclasses.asdict(base.synthetic.crowds)
        synthesize.main(out=folder, split="val", images=images, seed=seed, **crowds)
    return RenderedSet(annotations, folder / "val", folder / "figures")


def with_budget(experiment: ExperimentConfig, epochs: float, seed: int) -> ExperimentConfig:
    """The experiment for so many epochs, without tests in between."""
    return dataclasses.replace(
        experiment,
        training=dataclasses.replace(experiment.training, epochs=epochs, seed=seed),
        loop=dataclasses.replace(experiment.loop, evaluate_every=0),
    )


def run(
    name: str, network: str, experiment: ExperimentConfig, test_set: RenderedSet, out: Path
) -> dict[str, Any]:
    """The figures of one training.

    Args:
        name: of the figures.
        network: of the training, which others may share.
        experiment: from `with_budget`.
        test_set: what to test on.
        out: the folder of everything.

    Raises:
        Stopped: by a signal; the same call goes on.
    """
    budget = f"seed{experiment.training.seed}_{experiment.training.epochs:g}epochs"
    figures = test_set.figures / f"{name}_{budget}.json"
    if not figures.is_file():
        workdir = out / "trained" / f"{network}_{budget}"
        train(experiment, workdir)
        figures.parent.mkdir(parents=True, exist_ok=True)
        test = CheckpointTest(
            network=ChosenNetwork(workdir, None, "rendered crowds"),
            source=SetSource(test_set.annotations, test_set.images),
            inference=experiment.inference,
            batch_size=default_batch_size(jax.local_devices()),
            metric="coco",
        )
        evaluate_checkpoint(test, figures, _TEST_OPTIONS)
    return json.loads(figures.read_text())
