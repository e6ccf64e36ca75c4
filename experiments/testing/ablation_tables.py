"""What the rows of the small Table 1 come to: tables beside the paper's, and AP by crowding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs import load_config
from experiments.configs.paper_rows import ABLATIONS
from pinet_jax.evaluation.tables import bin_name
from pinet_jax.files import write_whole

_FIGURE_5 = {"SPM": "ochuman_spm", "PINet": "ochuman"}  # AP by crowding


def write_tables(runs: dict[str, list[dict[str, Any]]], out: Path) -> None:
    """Writes what the runs come to.

    Args:
        runs: for every row the figures of its seeds, in the same order of seeds.
        out: the folder for ablations.json, .md and .png.
    """
    ap = {row: [100 * figures["AP"] for figures in of_row] for row, of_row in runs.items()}
    tables = [line for name in ABLATIONS for line in _table(name, ap)]
    text = "\n".join([*tables, *_figure_5_table(runs)])
    print(text)
    write_whole(out / "ablations.md", text)
    write_whole(out / "ablations.json", json.dumps({"AP": ap, "runs": runs}, indent=1) + "\n")
    _draw_figure_5(runs, out / "ablations.png")


def _table(name: str, ap: dict[str, list[float]]) -> list[str]:
    """A table in Markdown: every row's AP, and its step from the row above, beside the paper's."""
    header = ["config", "paper's AP", "step", "AP here", "step", "the paper's order?"]
    lines = []
    rows = list(_paper_ap(name).items())
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


def _paper_ap(table: str) -> dict[str, float]:
    """The paper's AP in percent, by row."""
    papers = {row: load_config(row).paper for row in ABLATIONS[table]}
    return {row: 100 * paper.figures["AP"] for row, paper in papers.items() if paper is not None}


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
