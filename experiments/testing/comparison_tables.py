"""What the systems of a comparison come to: a table beside published figures, AP by crowding."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.configs import load_config
from experiments.configs.rendered import COMPARED
from experiments.testing.seed_tables import (
    crowding_table,
    draw_crowding,
    markdown,
    mean_and_spread,
    verdict,
)
from pinet_jax.files import write_whole

_FIRST = "PINet"  # what the others are compared with


def write_tables(runs: dict[str, list[dict[str, Any]]], out: Path) -> str:
    """Writes what the runs come to; some may still be missing.

    Args:
        runs: for every system the figures of its seeds, in the same order of seeds.
        out: the folder for comparison.json, .md and .png.

    Returns:
        The tables.
    """
    text = "\n".join([*_table(runs), *crowding_table(runs)])
    write_whole(out / "comparison.md", text)
    write_whole(out / "comparison.json", json.dumps(runs, indent=1) + "\n")
    draw_crowding(runs, out / "comparison.png")
    return text


def _table(runs: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Published AP, AP here, and whether PINet's lead has the published sign."""
    header = [
        "system", "CrowdPose", "OCHuman", "seeds", "AP here", "AP50", "AR", "PINet's lead",
        "as published?",
    ]  # fmt: skip
    rows = []
    first = [100 * run["AP"] for run in runs[_FIRST]]
    for name, of_system in runs.items():
        percent = {key: [100 * run[key] for run in of_system] for key in ("AP", "AP50", "AR")}
        lead = [a - b for a, b in zip(first, percent["AP"], strict=False)]  # seed by seed
        rows.append(
            [
                name,
                *("" if ap is None else f"{ap:.1f}" for ap in _published(name)),
                str(len(of_system)),
                *map(mean_and_spread, percent.values()),
                *(
                    [""] * 2
                    if name == _FIRST
                    else [mean_and_spread(lead, "+"), _agrees(name, lead)]
                ),
            ]
        )
    return markdown("AP", header, rows)


def _published(name: str) -> list[float | None]:
    """AP in percent on CrowdPose and OCHuman."""
    papers = [load_config(config).paper for config in COMPARED[name][1]]
    return [None if paper is None else 100 * paper.figures["AP"] for paper in papers]


def _agrees(name: str, lead: Sequence[float]) -> str:
    """Whether PINet is ahead, or behind, where it is in the published figures."""
    pairs = zip(_published(_FIRST), _published(name), strict=True)
    signs = {np.sign(a - b) for a, b in pairs if a is not None and b is not None}
    if len(signs) != 1:
        return "published leads differ" if signs else ""
    (sign,) = signs
    return verdict([sign * step for step in lead])
