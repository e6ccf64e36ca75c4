"""`pinet-jax ablations`: the paper's Table 1 in small, on rendered crowds.

Every row is a config of `experiments/configs`, of which the partition, the refinement and the
fusion are taken, and everything else from one small experiment. Rows that differ in their test
alone share a training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from pathlib import Path
from typing import Any, NamedTuple

import jax

from experiments.commands import synthesize
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from experiments.configs.paper_rows import ABLATIONS
from experiments.testing.ablation_tables import write_tables
from experiments.testing.checkpoint_evaluation import CheckpointTest, evaluate_checkpoint
from experiments.testing.chosen_network import ChosenNetwork
from experiments.testing.image_sets import SetSource
from experiments.testing.scoring import ScoreOptions
from experiments.training.loop import Stopped, train
from experiments.training.process import prepare_process
from pinet_jax.errors import UsageError
from pinet_jax.inference import default_batch_size
from pinet_jax.methods.pinet import PINet, PINetInference

_TEST_OPTIONS = ScoreOptions(crowding_bins=(0.0, 0.2, 0.4, 0.6, 1.0), resamples=0)


def main(
    *,
    out: Path,
    config: str = "synthetic_shallow",
    epochs: float = 10,
    seeds: tuple[int, ...] = (0, 1, 2),
    test_images: int = 500,
    test_seed: int = 1000,
) -> None:
    """Trains and tests every row of the paper's Table 1, each with several seeds.

    Writes OUT/ablations.json, .md and .png, anew after every seed. What is done already, in OUT, is
    not done again.

    Example: pinet-jax ablations --out runs/ablations --epochs 8

    Args:
        out: folder of everything.
        config: the experiment whose network, crowds and training are used; it must be synthetic.
        epochs: of every training: the same budget for all.
        seeds: of the trainings.
        test_images: crowds that all are tested on.
        test_seed: of those crowds; none of `seeds`, whose crowds are trained on.
    """
    base = load_config(config)
    if base.synthetic is None:
        raise UsageError(f"--config {config}: is not trained on rendered crowds")
    if test_seed in seeds:
        raise UsageError(f"--test-seed {test_seed}: is one of --seeds, whose crowds are trained on")
    prepare_process()
    test_set = _test_set(base, out / f"seed{test_seed}_{test_images}images", test_images, test_seed)
    runs: dict[str, list[dict[str, Any]]] = {}
    with contextlib.suppress(Stopped):
        for seed in seeds:
            for row in dict.fromkeys(row for table in ABLATIONS.values() for row in table):
                experiment = _small(base, load_config(row), epochs, seed)
                runs.setdefault(row, []).append(_run(row, experiment, seed, test_set, out))
            write_tables(runs, out)


class _TestSet(NamedTuple):
    annotations: Path
    images: Path
    figures: Path  # of everything tested on it


def _test_set(base: ExperimentConfig, folder: Path, count: int, seed: int) -> _TestSet:
    annotations = folder / "annotations" / "person_keypoints_val.json"
    if not annotations.is_file():
        assert base.synthetic is not None
        crowds = base.synthetic.crowds
        synthesize.main(
            out=folder, split="val", images=count, seed=seed, **dataclasses.asdict(crowds)
        )
    return _TestSet(annotations, folder / "val", folder / "figures")


def _small(
    base: ExperimentConfig, row: ExperimentConfig, epochs: float, seed: int
) -> ExperimentConfig:
    """The base with the row's partition, refinement and fusion."""
    assert isinstance(base.model, PINet) and isinstance(row.model, PINet)
    assert isinstance(row.inference, PINetInference)
    refinement = row.model.refinement
    if refinement is not None and base.model.refinement is not None:
        refinement = dataclasses.replace(refinement, blocks=base.model.refinement.blocks)
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, partition=row.model.partition, refinement=refinement),
        inference=dataclasses.replace(base.inference, fusion=row.inference.fusion),  # type: ignore[call-arg]
        training=dataclasses.replace(base.training, epochs=epochs, seed=seed),
        loop=dataclasses.replace(base.loop, evaluate_every=0),
    )


def _run(
    row: str, experiment: ExperimentConfig, seed: int, test_set: _TestSet, out: Path
) -> dict[str, Any]:
    """The figures of one row and seed."""
    budget = f"seed{seed}_{experiment.training.epochs:g}epochs"
    figures = test_set.figures / f"{row}_{budget}.json"
    if not figures.is_file():
        workdir = out / "trained" / f"{_network_name(experiment)}_{budget}"
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


def _network_name(experiment: ExperimentConfig) -> str:
    """What distinguishes the trained network from the other rows'."""
    assert isinstance(experiment.model, PINet)
    refinement = experiment.model.refinement
    graph = "unrefined" if refinement is None else refinement.graph.__name__  # type: ignore[attr-defined]
    return f"{experiment.model.partition}_{graph}"
