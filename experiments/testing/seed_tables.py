"""Figures of several seeds: as cells of Markdown tables, and AP by crowding as table and plot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pinet_jax.evaluation.tables import bin_name

Runs = Mapping[str, Sequence[Mapping[str, Any]]]  # by name the figures of its seeds


def markdown(title: str, header: list[str], rows: list[list[str]]) -> list[str]:
    """The lines of a titled table."""
    rule = "|---" * len(header) + "|"
    first, *others = (f"| {' | '.join(cells)} |" for cells in (header, *rows))
    return [f"### {title}", "", first, rule, *others, ""]


def mean_and_spread(values: Sequence[float], sign: str = "") -> str:
    """Mean and standard deviation over seeds."""
    spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
    return f"{np.mean(values):{sign}.1f}{spread}"


def verdict(steps: Sequence[float]) -> str:
    """Whether every seed has a step upwards."""
    if min(steps) > 0:
        return "yes"
    return "no" if max(steps) <= 0 else "not with every seed"


def crowding_table(runs: Runs) -> list[str]:
    """AP by mean box IoU, a line a name."""
    bins = _filled_bins(next(iter(runs.values()))[0])
    header = ["mean box IoU", *(f"{_name(bin)} ({bin['images']} images)" for bin in bins)]
    rows = [
        [name, *map(mean_and_spread, _ap_by_crowding(of_name).T.tolist())]
        for name, of_name in runs.items()
    ]
    return markdown("AP by crowding (Fig. 5)", header, rows)


def draw_crowding(runs: Runs, file: Path) -> None:
    """The same as a plot: the mean over seeds with their range."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, of_name in runs.items():
        labels = [f"{_name(bin)}\n{bin['images']} images" for bin in _filled_bins(of_name[0])]
        ap = _ap_by_crowding(of_name)
        (line,) = axes.plot(labels, ap.mean(axis=0), marker="o", label=name)
        axes.fill_between(
            labels, ap.min(axis=0), ap.max(axis=0), color=line.get_color(), alpha=0.2, linewidth=0
        )
    axes.set(xlabel="mean box IoU", ylabel="AP, %", ylim=(0, None))
    figure.legend(loc="outside right upper", frameon=False)  # beside the lines, not over them
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(file, dpi=150)


def _ap_by_crowding(of_name: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """AP in percent, [seeds, bins]."""
    return np.array([[100 * bin["AP"] for bin in _filled_bins(run)] for run in of_name])


def _filled_bins(run: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The bins with images in them: the same for all, as all are tested on the same images."""
    return [bin for bin in run["crowding"] if bin["AP"] is not None]


def _name(bin: Mapping[str, Any]) -> str:
    return bin_name(bin["low"], bin["high"])
