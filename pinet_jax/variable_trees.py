"""Trees of variables as flat mappings, and where two of them differ."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

Path = tuple[str, ...]  # of a leaf: collection, layers, leaf


def leaves_of(tree: Any) -> dict[Path, Any]:
    """The leaves by their paths; of arrays, or of anything with a shape."""
    found = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {tuple(str(key.key) for key in path): leaf for path, leaf in found}


def shape_of(leaves: Mapping[Path, Any], path: Path) -> tuple[int, ...] | None:
    """A leaf's shape; None where there is no such leaf."""
    leaf = leaves.get(path)
    return None if leaf is None else tuple(getattr(leaf, "shape", np.shape(leaf)))


def shape_difference(ours: Mapping[Path, Any], theirs: Mapping[Path, Any]) -> str | None:
    """What entries two networks do not share, in words; None where they share all."""
    paths = ours.keys() | theirs.keys()
    different = [path for path in paths if shape_of(ours, path) != shape_of(theirs, path)]
    if not different:
        return None
    path = min(different)
    there, here = shape_of(theirs, path), shape_of(ours, path)
    return (
        f"{len(different)} entries differ; the first, {'/'.join(path)}, is "
        f"{'absent' if there is None else there} there and "
        f"{'absent' if here is None else here} in the config"
    )
