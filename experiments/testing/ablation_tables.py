"""What the rows of the small Table 1 come to: tables beside the paper's, and AP by crowding."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs import load_config
from experiments.configs.paper_rows import ABLATIONS
from experiments.testing.seed_tables import (
    crowding_table,
    draw_crowding,
    markdown,
    mean_and_spread,
    verdict,
)
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
    by_crowding = {name: runs[row] for name, row in _FIGURE_5.items()}
    text = "\n".join([*tables, *crowding_table(by_crowding)])
    print(text)
    write_whole(out / "ablations.md", text)
    write_whole(out / "ablations.json", json.dumps({"AP": ap, "runs": runs}, indent=1) + "\n")
    draw_crowding(by_crowding, out / "ablations.png")


def _table(name: str, ap: dict[str, list[float]]) -> list[str]:
    """A table in Markdown: every row's AP, and its step from the row above, beside the paper's."""
    header = ["config", "paper's AP", "step", "AP here", "step", "the paper's order?"]
    lines = []
    rows = list(_paper_ap(name).items())
    for place, (row, paper) in enumerate(rows):
        cells = [f"`{row}`", f"{paper:.1f}", "", mean_and_spread(ap[row]), "", ""]
        if place:
            above, paper_above = rows[place - 1]
            steps = np.subtract(ap[row], ap[above]).tolist()  # seed by seed
            cells[2] = f"{paper - paper_above:+.1f}"
            cells[4] = mean_and_spread(steps, sign="+")
            cells[5] = verdict(steps)
        lines.append(cells)
    return markdown(name, header, lines)


def _paper_ap(table: str) -> dict[str, float]:
    """The paper's AP in percent, by row."""
    papers = {row: load_config(row).paper for row in ABLATIONS[table]}
    return {row: 100 * paper.figures["AP"] for row, paper in papers.items() if paper is not None}
