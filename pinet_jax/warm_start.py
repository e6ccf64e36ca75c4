"""A network that starts from another one: its backbone, or all that fits.

Sources are a checkpoint, a training's folder, or a weight file; a source may be of another method,
of other keypoints, or of a graph of the user's own.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from pinet_jax.checkpoints import load_variables
from pinet_jax.errors import InputError
from pinet_jax.interop.model_files import names_network, read_model_file
from pinet_jax.interop.state_dict import fitting_leaves, replace_backbone
from pinet_jax.interop.weight_files import read_arrays
from pinet_jax.methods.base import Method
from pinet_jax.networks.initializers import Variables
from pinet_jax.variable_trees import leaves_of, shape_difference, shape_of

_Leaves = dict[tuple[str, ...], np.ndarray]


def with_backbone(variables: Variables, source: Path, method: Method) -> Variables:
    """The variables with the backbone of another network.

    Args:
        variables: of the whole network; not changed.
        source: a published ImageNet network, or any network with the same backbone.
        method: whose network the variables are of.

    Raises:
        InputError: the source is at fault, or its backbone is another one.
    """
    theirs = _variables(source)
    if theirs is None:
        return replace_backbone(variables, read_arrays(source), method, where=str(source))
    ours = {path: leaf for path, leaf in leaves_of(variables).items() if path[1] == "backbone"}
    found = {path: leaf for path, leaf in theirs.items() if path[1:2] == ("backbone",)}
    different = shape_difference(ours, found)
    if different:
        raise InputError(f"{source}: has another backbone, {different}")
    return _replaced(variables, found)


class Fit(NamedTuple):
    """What a network takes from another one.

    Attributes:
        variables: of the whole network.
        anew: the layers that were not taken, or not whole.
        unused: the other network's layers that have no place.
    """

    variables: Variables
    anew: tuple[str, ...]
    unused: tuple[str, ...]


def with_what_fits(variables: Variables, source: Path, method: Method) -> Fit:
    """The variables with every leaf that another network has by the same name and shape.

    Args:
        variables: of the whole network; not changed.
        source: any network.
        method: whose network the variables are of.

    Raises:
        InputError: the source is at fault, or nothing of it fits.
    """
    ours, theirs = leaves_of(variables), _variables(source)
    if theirs is None:
        theirs = fitting_leaves(read_arrays(source), method)
    taken = {path: leaf for path, leaf in theirs.items() if np.shape(leaf) == shape_of(ours, path)}
    if not taken:
        raise InputError(f"{source}: nothing of it fits the network; is it one of this kind?")
    return Fit(
        _replaced(variables, taken),
        _layers(path for path in ours if path not in taken),
        _layers(path for path in theirs if path not in taken),
    )


def _variables(source: Path) -> _Leaves | None:
    """The leaves of a network that its source describes; None for a file of arrays alone."""
    if source.is_dir() or not source.exists():
        return leaves_of(load_variables(source))
    if source.suffix == ".safetensors" and names_network(source):
        return leaves_of(read_model_file(source).variables)
    return None


def _replaced(variables: Variables, leaves: _Leaves) -> Variables:
    def chosen(path: Any, leaf: Any) -> Any:
        return leaves.get(tuple(str(key.key) for key in path), leaf)

    return jax.tree_util.tree_map_with_path(chosen, variables)


def _layers(paths: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """The layers of leaves, each once, in order."""
    return tuple(dict.fromkeys(".".join(path[1:-1]) for path in paths))
