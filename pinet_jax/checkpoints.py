"""Checkpoints: a network's variables and its config in one folder. The only file that knows orbax.

A checkpoint holds two items, `model` ("params" and "batch_stats") and `config` (JSON), so that
whoever has the folder needs nothing else.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pinet_jax.errors import InputError
from pinet_jax.models.config import PINetConfig
from pinet_jax.models.config_json import config_from_json, config_to_json
from pinet_jax.models.pinet import Variables, abstract_variables


def save_model(path: str | os.PathLike, config: PINetConfig, variables: Variables) -> None:
    """Writes a checkpoint, whole or not at all.

    Raises:
        InputError: there is something at `path` already, or nothing can be written there.
    """
    path = Path(path).absolute()
    if path.exists():
        raise InputError(f"{path}: exists already; remove it or choose another name")
    items = ocp.args.Composite(
        model=ocp.args.StandardSave(jax.tree.map(np.asarray, variables)),
        config=ocp.args.JsonSave(config_to_json(config)),
    )
    try:
        with ocp.Checkpointer(_handler()) as checkpointer:
            checkpointer.save(path, args=items)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error})") from error


def load_model(
    path: str | os.PathLike, config: PINetConfig | None = None
) -> tuple[PINetConfig, Variables]:
    """Reads a checkpoint.

    Args:
        path: its folder.
        config: the network it must hold; by default the checkpoint says it itself. Needed where
            its graph is a function of your own.

    Returns:
        The network's config and its variables, NumPy arrays.

    Raises:
        InputError: `path` is no whole checkpoint, or it holds another network; the message says
            in what it differs.
    """
    path = Path(path).absolute()
    if not (path / "model").is_dir() or not (path / "config").is_dir():
        raise InputError(
            f"{path}: not a checkpoint; name the folder that `convert` or `train` made"
        )
    try:
        with ocp.Checkpointer(_handler()) as checkpointer:
            items = ocp.args.Composite(config=ocp.args.JsonRestore())
            stored = checkpointer.restore(path, args=items)["config"]
            config = config or config_from_json(stored, where=str(path))
            shapes = checkpointer.metadata(path).item_metadata["model"].tree
            _check_same_network(path, abstract_variables(config), shapes)
            items = ocp.args.Composite(model=ocp.args.StandardRestore())
            return config, checkpointer.restore(path, args=items)["model"]
    except InputError:
        raise
    except Exception as error:  # orbax and tensorstore raise what the broken file makes them
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{path}: the checkpoint is broken ({reason})") from error


def _handler() -> ocp.CompositeCheckpointHandler:
    return ocp.CompositeCheckpointHandler(
        model=ocp.StandardCheckpointHandler(), config=ocp.JsonCheckpointHandler()
    )


def _check_same_network(path: Path, expected: Variables, stored: Any) -> None:
    """Raises InputError with the entries that two networks do not share."""

    def shapes(tree: Any) -> dict[str, tuple[int, ...]]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {jax.tree_util.keystr(p, simple=True, separator="/"): x.shape for p, x in leaves}

    ours, theirs = shapes(expected), shapes(stored)
    different = [name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name)]
    if different:
        name = min(different)
        raise InputError(
            f"{path}: holds another network, {len(different)} entries differ; the first, {name}, "
            f"is {theirs.get(name, 'absent')} there and {ours.get(name, 'absent')} in the config"
        )
