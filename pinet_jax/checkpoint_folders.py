"""What lies in the folder of a training's checkpoints, and which of them is the best."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pinet_jax.errors import InputError

EVALUATION = "evaluation.json"  # in a checkpoint: its figures


def step_folders(folder: Path) -> list[Path]:
    """The whole checkpoints of a training, oldest first."""
    found = (path for path in folder.iterdir() if path.name.isdigit() and is_checkpoint(path))
    return sorted(found, key=lambda path: int(path.name))


def best_checkpoint(path: Path) -> Path:
    """The checkpoint itself, or the best of a training's.

    Raises:
        InputError: there is none.
    """
    if is_checkpoint(path):
        return path
    for folder in (path, path / "checkpoints"):
        whole = step_folders(folder) if folder.is_dir() else []
        if whole:
            return best_of(whole)
    raise InputError(f"{path}: not a checkpoint; name the folder that `convert` or `train` made")


def best_of(checkpoints: Sequence[Path]) -> Path:
    """The best by AP; the latest of those that are alike, or if none was evaluated."""

    def rank(place: int) -> tuple[float, int]:
        ap = (evaluation_of(checkpoints[place]) or {}).get("AP")
        return -1.0 if ap is None else ap, place

    return checkpoints[max(range(len(checkpoints)), key=rank)]


def is_checkpoint(path: Path) -> bool:
    """Whether a folder is a whole checkpoint."""
    return (path / "model").is_dir() and (path / "config").is_dir()


def evaluation_of(checkpoint: Path) -> dict[str, float | None] | None:
    """A checkpoint's figures; None where it was not evaluated."""
    file = checkpoint / EVALUATION
    return json.loads(file.read_text()) if file.is_file() else None
