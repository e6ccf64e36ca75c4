"""`pinet-jax ablations`: the paper's Table 1 in small, on rendered crowds.

Every row is a config of `experiments/configs`, of which the partition, the refinement and the
fusion are taken, and everything else from one small experiment. Rows that differ in their test
alone share a training.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from experiments.commands import evaluate, synthesize
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from experiments.testing.scoring import Scoring
from experiments.training.loop import Stopped, prepare_process, train
from pinet_jax.errors import UsageError
from pinet_jax.evaluation.summary import bin_name
from pinet_jax.files import write_whole

# The paper's Table 1: AP on OCHuman test, in percent, by config.
TABLES: dict[str, dict[str, float]] = {
    "components": {
        "ochuman_spm": 47.6,
        "ochuman_ppg": 53.1,
        "ochuman_ppg_pf": 55.8,
        "ochuman_ppg_pr": 58.8,
        "ochuman": 59.8,
    },
    "partitions": {
        "ochuman_keypoint": 40.8,
        "ochuman_spm": 47.6,
        "ochuman_head": 49.8,
        "ochuman_part_small": 50.3,
        "ochuman_ppg": 53.1,
    },
    "graphs": {"ochuman_no_graph": 56.8, "ochuman_static_graph": 57.7, "ochuman": 59.8},
    "fusion of another system's poses": {"ochuman_spm": 47.6, "ochuman_spm_pf": 48.1},
}
_FIGURE_5 = {"SPM": "ochuman_spm", "PINet": "ochuman"}  # AP by crowding


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
            for row in dict.fromkeys(row for table in TABLES.values() for row in table):
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
    refinement = row.model.refinement
    if refinement is not None and base.model.refinement is not None:
        refinement = dataclasses.replace(refinement, blocks=base.model.refinement.blocks)
    return dataclasses.replace(
        base,
        model=dataclasses.replace(base.model, partition=row.model.partition, refinement=refinement),
        inference=dataclasses.replace(base.inference, fusion=row.inference.fusion),
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
        evaluate.main(
            out=figures,
            checkpoint=workdir,
            annotations=test_set.annotations,
            images=test_set.images,
            metric="coco",
            input_size=experiment.inference.input_size,
            fusion=experiment.inference.fusion,
            scoring=Scoring(crowding_bins=(0.0, 0.2, 0.4, 0.6, 1.0), resamples=0),
        )
    return json.loads(figures.read_text())


def _network_name(experiment: ExperimentConfig) -> str:
    """What distinguishes the trained network from the other rows'."""
    refinement = experiment.model.refinement
    graph = "unrefined" if refinement is None else refinement.graph.__name__  # type: ignore[attr-defined]
    return f"{experiment.model.partition}_{graph}"


def write_tables(runs: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Writes what the runs come to.

    Args:
        runs: for every row the figures of its seeds, in the same order of seeds.
        out: the folder for ablations.json, .md and .png.
    """
    ap = {row: [100 * figures["AP"] for figures in of_row] for row, of_row in runs.items()}
    tables = [line for name in TABLES for line in _table(name, ap)]
    text = "\n".join([*tables, *_figure_5_table(runs)])
    print(text)
    write_whole(out / "ablations.md", text)
    write_whole(out / "ablations.json", json.dumps({"AP": ap, "runs": runs}, indent=1) + "\n")
    _draw_figure_5(runs, out / "ablations.png")


def _table(name: str, ap: dict[str, list[float]]) -> list[str]:
    """A table in Markdown: every row's AP, and its step from the row above, beside the paper's."""
    header = ["config", "paper's AP", "step", "AP here", "step", "the paper's order?"]
    lines = []
    rows = list(TABLES[name].items())
    for place, (row, paper) in enumerate(rows):
        cells = [f"`{row}`", f"{paper:.1f}", "", _mean_and_spread(ap[row]), "", ""]
        if place:
            above, paper_above = rows[place - 1]
            steps = np.subtract(ap[row], ap[above]).tolist()  # seed by seed
            cells[2] = f"{paper - paper_above:+.1f}"
            cells[4] = _mean_and_spread(steps, sign="+")
            cells[5] = _verdict(steps)
        lines.append(cells)
    return _markdown(name, header, lines)


def _markdown(title: str, header: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a titled table."""
    rule = "|---" * len(header) + "|"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [f"### {title}", "", first, rule, *others, ""]


def _mean_and_spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.1f}{spread}"


def _verdict(steps: Sequence[float]) -> str:
    """Whether a row is above the one before it, as in the paper, with every seed."""
    if min(steps) > 0:
        return "yes"
    return "no" if max(steps) <= 0 else "not with every seed"


def _figure_5_table(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """AP of SPM and PINet by mean box IoU."""
    bins = _filled_bins(runs[_FIGURE_5["SPM"]][0])
    header = ["mean box IoU", *(f"{_name(bin)} ({bin['images']} images)" for bin in bins)]
    rows = [
        [name, *map(_mean_and_spread, _ap_by_crowding(runs[row]).T.tolist())]
        for name, row in _FIGURE_5.items()
    ]
    return _markdown("AP by crowding (Fig. 5)", header, rows)


def _draw_figure_5(runs: dict[str, list[dict[str, Any]]], file: Path) -> None:
    """The same as a plot: the mean over seeds with their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, row in _FIGURE_5.items():
        labels = [f"{_name(bin)}\n{bin['images']} images" for bin in _filled_bins(runs[row][0])]
        ap = _ap_by_crowding(runs[row])
        (line,) = axes.plot(labels, ap.mean(axis=0), marker="o", label=name)
        axes.fill_between(
            labels, ap.min(axis=0), ap.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0
        )
    axes.set(xlabel="mean box IoU", ylabel="AP, %", ylim=(0, None))
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def _ap_by_crowding(of_row: list[dict[str, Any]]) -> np.ndarray:
    """A row's AP in percent, [seeds, bins]."""
    return np.array([[100 * bin["AP"] for bin in _filled_bins(run)] for run in of_row])


def _filled_bins(run: dict[str, Any]) -> list[dict[str, Any]]:
    """The bins with images in them: the same for all, as all are tested on the same images."""
    return [bin for bin in run["crowding"] if bin["AP"] is not None]


def _name(bin: dict[str, Any]) -> str:
    return bin_name(bin["low"], bin["high"])
