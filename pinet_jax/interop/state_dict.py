"""Variables of our networks as the released PyTorch code's state dict, and back.

A state dict is a mapping of names to arrays. The method says how each leaf stands in it
(`Method.state_dict_entry`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.interop.layouts import Entry, torch_entry
from pinet_jax.methods.base import Method, abstract_variables
from pinet_jax.networks.initializers import Variables

StateDict = Mapping[str, np.ndarray]

_WRAPPERS = ("best_state_dict", "state_dict", "model_state_dict", "model", "network", "net")
_COUNTER = "num_batches_tracked"  # torch's alone: of no use with a fixed momentum


class _Leaf(NamedTuple):
    """One leaf of the variables, and how it stands in a state dict."""

    path: tuple[str, ...]  # collection, layers, leaf
    entry: Entry
    shapes: tuple[tuple[int, ...], ...]  # of the entry's arrays


def to_state_dict(variables: Variables, method: Method) -> dict[str, np.ndarray]:
    """The released names and layouts.

    Args:
        variables: "params" and "batch_stats" of a network that is not folded.
        method: whose network it is.

    Returns:
        float32 arrays by name, and torch's int64 counters at 0.
    """
    state: dict[str, np.ndarray] = {}
    for leaf in _leaves(variables, method.state_dict_entry):
        arrays = leaf.entry.to_torch(np.asarray(_get(variables, leaf.path)))
        state.update(zip(leaf.entry.names, arrays, strict=True))
    return state | _counters(state) | method.state_dict_constants()


def from_state_dict(
    state: StateDict, method: Method, *, where: str = "the state dict"
) -> Variables:
    """The variables of a network, from a state dict of the released code or of `to_state_dict`.

    Args:
        state: arrays by name; `strip_wrappers` takes care of what training scripts add.
        method: whose network they belong to.
        where: what to call the state dict in errors, such as its file's name.

    Returns:
        float32 NumPy arrays under "params" and "batch_stats".

    Raises:
        InputError: entries are missing, unexpected or of another shape; the message lists them.
    """
    leaves = list(_leaves(abstract_variables(method), method.state_dict_entry))
    constants = method.state_dict_constants()
    return _fill({n: a for n, a in state.items() if n not in constants}, leaves, where)


def fitting_leaves(state: StateDict, method: Method) -> dict[tuple[str, ...], np.ndarray]:
    """The leaves of a network that a state dict has whole and of the right shape, by their paths.

    Args:
        state: arrays by name, of a network that need not be the same.
        method: whose network it is.
    """
    found = {}
    for leaf in _leaves(abstract_variables(method), method.state_dict_entry):
        shapes = tuple(np.shape(state.get(name, ())) for name in leaf.entry.names)
        if shapes == leaf.shapes and all(name in state for name in leaf.entry.names):
            arrays = [np.asarray(state[name]).astype(np.float32) for name in leaf.entry.names]
            found[leaf.path] = leaf.entry.from_torch(arrays)
    return found


def replace_backbone(
    variables: Variables, state: StateDict, method: Method, *, where: str = "the state dict"
) -> Variables:
    """The variables with the backbone of a published ImageNet network, or of a pose network.

    Args:
        variables: of the whole network; not changed.
        state: arrays by the backbone's own names, with or without "backbone." before them. What the
            backbone config calls extras, such as the classifier, is left out, and so is what has
            another first name than any layer of the backbone: heads.
        method: whose network it is.
        where: what to call the state dict in errors, such as its file's name.

    Returns:
        New variables.

    Raises:
        InputError: entries are missing, unexpected or of another shape; the message lists them.
    """
    leaves = [
        leaf
        for leaf in _leaves(abstract_variables(method), torch_entry)
        if leaf.path[1] == "backbone"
    ]
    extras = method.backbone.imagenet_extras
    bare = {
        name: array
        for name, array in _backbone_of(state, leaves).items()
        if not name.startswith(extras)
    }
    lacks = method.backbone.imagenet_lacks
    if lacks and not any(name.startswith(lacks) for name in bare):  # it is ImageNet's
        lacked = tuple(f"backbone.{name}" for name in lacks)
        leaves = [leaf for leaf in leaves if not leaf.entry.names[0].startswith(lacked)]
        _check_fit(_prefixed(bare), leaves, where)
        bare = dict(method.backbone.adapt_imagenet(bare))
    new = _fill(_prefixed(bare), leaves, where)
    return {
        collection: {**tree, "backbone": {**tree["backbone"], **new[collection]["backbone"]}}
        for collection, tree in variables.items()
    }


def _backbone_of(state: StateDict, leaves: Sequence[_Leaf]) -> dict[str, np.ndarray]:
    """The entries of a backbone by its own names, from those of any network around it."""
    if any(name.startswith("backbone.") for name in state):
        return {
            name.removeprefix("backbone."): array
            for name, array in state.items()
            if name.startswith("backbone.")
        }
    first = {name.split(".")[1] for leaf in leaves for name in leaf.entry.names}
    return {name: array for name, array in state.items() if name.split(".")[0] in first}


def _prefixed(state: StateDict) -> dict[str, np.ndarray]:
    return {f"backbone.{name}": array for name, array in state.items()}


def strip_wrappers(state: Mapping) -> dict:
    """A bare state dict, from what training scripts save.

    Takes the content of the first of `_WRAPPERS` that is there, also of one within it, and
    `module.` off the front of names.
    """
    while wrapper := next((name for name in _WRAPPERS if isinstance(state.get(name), Mapping)), ""):
        state = state[wrapper]
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _leaves(
    tree: Variables, entry_of: Callable[[tuple[str, ...], tuple[int, ...]], Entry]
) -> Iterator[_Leaf]:
    for key_path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        path = tuple(str(key.key) for key in key_path)
        entry = entry_of(path, tuple(leaf.shape))
        sample = np.broadcast_to(np.float32(0), leaf.shape)  # takes no memory
        yield _Leaf(path, entry, tuple(x.shape for x in entry.to_torch(sample)))


def _counters(names: Iterable[str]) -> dict[str, np.ndarray]:
    """torch's counters beside running variances."""
    end = "running_var"
    return {
        name.removesuffix(end) + _COUNTER: np.zeros((), np.int64)
        for name in names
        if name.endswith(end)
    }


def _fill(state: StateDict, leaves: list[_Leaf], where: str) -> Variables:
    """Variables of all leaves."""
    _check_fit(state, leaves, where)
    variables: Variables = {}
    for leaf in leaves:
        arrays = [np.asarray(state[name]).astype(np.float32) for name in leaf.entry.names]
        node = variables
        for key in leaf.path[:-1]:
            node = node.setdefault(key, {})
        node[leaf.path[-1]] = leaf.entry.from_torch(arrays)
    return variables


def _check_fit(state: StateDict, leaves: list[_Leaf], where: str) -> None:
    """Raises an error that lists what does not fit."""
    expected = {
        name: shape
        for leaf in leaves
        for name, shape in zip(leaf.entry.names, leaf.shapes, strict=True)
    }
    counters = _counters(expected)
    unexpected = [name for name in state if name not in expected and name not in counters]
    missing = [name for name in expected if name not in state]
    misshaped = [
        f"{name} {np.shape(state[name])} for {shape}"
        for name, shape in expected.items()
        if name in state and np.shape(state[name]) != shape
    ]
    if missing or unexpected or misshaped:
        raise InputError(
            f"{where}: does not fit the network; missing {_listed(missing)}; "
            f"unexpected {_listed(unexpected)}; of another shape {_listed(misshaped)}; "
            "is the config the right one?"
        )


def _get(tree: Variables, path: Iterable[str]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


def _listed(names: list[str], most: int = 20) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"[{', '.join(names[:most])}{rest}]"
