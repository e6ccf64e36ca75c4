"""`pinet-jax ablations`: the paper's Table 1 in small, on rendered crowds.

Every row is a config of `experiments/configs`, of which the partition, the refinement and the
fusion are taken, and everything else from one small experiment. Rows that differ in their test
alone share a training.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from experiments.commands.small_runs import rendered_test_set, run, with_budget
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from experiments.configs.paper_rows import ABLATIONS
from experiments.testing.ablation_tables import write_tables
from experiments.training.process import prepare_process
from pinet_jax.errors import UsageError
from pinet_jax.methods.pinet import PINet, PINetInference


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
    prepare_process()
    test_set = rendered_test_set(base, out, images=test_images, seed=test_seed, trained=seeds)
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in seeds:
        for row in dict.fromkeys(row for table in ABLATIONS.values() for row in table):
            experiment = with_budget(_small(base, load_config(row)), epochs, seed)
            found = run(row, _network_name(experiment), experiment, test_set, out)
            runs.setdefault(row, []).append(found)
        write_tables(runs, out)


def _small(base: ExperimentConfig, row: ExperimentConfig) -> ExperimentConfig:
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
    )


def _network_name(experiment: ExperimentConfig) -> str:
    """What distinguishes the trained network from the other rows'."""
    assert isinstance(experiment.model, PINet)
    refinement = experiment.model.refinement
    graph = "unrefined" if refinement is None else refinement.graph.__name__  # type: ignore[attr-defined]
    return f"{experiment.model.partition}_{graph}"
