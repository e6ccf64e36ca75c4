"""`pinet-jax comparison`: the paper's systems in small, on rendered crowds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from experiments.commands.small_runs import rendered_test_set, run, with_budget
from experiments.configs import load_config
from experiments.configs.rendered import COMPARED
from experiments.testing.comparison_tables import write_tables
from experiments.training.process import prepare_process


def main(
    *,
    out: Path,
    epochs: float = 8,
    seeds: tuple[int, ...] = (0, 1, 2),
    test_images: int = 500,
    test_seed: int = 1000,
) -> None:
    """Trains and tests every system with several seeds: one width, one recipe, one budget.

    Writes OUT/comparison.json, .md and .png, anew after every training. The same command goes on
    where it was stopped; what is done already, in OUT, is not done again.

    Example: pinet-jax comparison --out runs/comparison

    Args:
        out: folder of everything.
        epochs: of every training: the same budget for all.
        seeds: of the trainings.
        test_images: crowds that all are tested on.
        test_seed: of those crowds; none of `seeds`, whose crowds are trained on.
    """
    prepare_process()
    base = load_config("rendered_pinet")
    test_set = rendered_test_set(base, out, images=test_images, seed=test_seed, trained=seeds)
    runs: dict[str, list[dict[str, Any]]] = {}
    tables = ""
    try:
        for seed in seeds:
            for name, (row, _) in COMPARED.items():
                experiment = with_budget(load_config(row), epochs, seed)
                runs.setdefault(name, []).append(run(row, row, experiment, test_set, out))
                tables = write_tables(runs, out)
    finally:
        print(tables)
