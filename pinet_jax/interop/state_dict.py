"""Variables of our networks as the reference's PyTorch state dict, and back.

A state dict is a mapping of names to arrays. Layers carry the reference's names already, so only
the leaves differ: linen's kernels are [h, w, in, out] and [in, out], torch's are [out, in, h, w]
and, in the predictor, [out, in, 1]. Of transposed convolutions ours are [h, w, out, in], torch's
[in, out, h, w].
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.models.config import PINetConfig
from pinet_jax.models.pinet import Variables, abstract_variables

StateDict = Mapping[str, np.ndarray]

_LEAF_NAMES = {
    "kernel": "weight",
    "transposed_kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_COUNTER = "num_batches_tracked"  # torch's alone: of no use with a fixed momentum
_CLASSIFIER = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")


class _Entry(NamedTuple):
    """One leaf of the variables, and how its array stands in a state dict."""

    path: tuple[str, ...]  # collection, layers, leaf
    name: str
    shape: tuple[int, ...]  # as in the state dict
    is_kernel: bool


def to_state_dict(variables: Variables) -> dict[str, np.ndarray]:
    """The reference's names and layouts.

    Args:
        variables: "params" and "batch_stats" of a network that is not folded.

    Returns:
        float32 arrays by name, and the reference's int64 counters at 0.
    """
    state: dict[str, np.ndarray] = {}
    for entry in _entries(variables):
        array = np.asarray(_get(variables, entry.path))
        state[entry.name] = _kernel_to_torch(array) if entry.is_kernel else array
        if entry.path[-1] == "var":
            state[entry.name.replace("running_var", _COUNTER)] = np.zeros((), np.int64)
    return state


def from_state_dict(
    state: StateDict, config: PINetConfig, *, where: str = "the state dict"
) -> Variables:
    """The variables of a network, from a state dict of the reference or of `to_state_dict`.

    Args:
        state: arrays by name; `strip_wrappers` takes care of what training scripts add.
        config: the network that they belong to.
        where: what to call the state dict in errors, such as its file's name.

    Returns:
        float32 NumPy arrays under "params" and "batch_stats".

    Raises:
        InputError: entries are missing, unexpected or of another shape; the message lists them.
    """
    entries = list(_entries(abstract_variables(config)))
    return _fill(state, entries, where)


def replace_backbone(
    variables: Variables, state: StateDict, config: PINetConfig, *, where: str = "the state dict"
) -> Variables:
    """The variables with the backbone of a published ImageNet HRNet.

    Args:
        variables: of the whole network; not changed.
        state: arrays by name, without the reference's prefix "backbone."; classification layers
            are left out.
        config: the network.
        where: what to call the state dict in errors, such as its file's name.

    Returns:
        New variables.

    Raises:
        InputError: entries are missing, unexpected or of another shape; the message lists them.
    """
    prefixed = {
        name if name.startswith("backbone.") else f"backbone.{name}": array
        for name, array in state.items()
        if not name.startswith(_CLASSIFIER)
    }
    entries = [e for e in _entries(abstract_variables(config)) if e.path[1] == "backbone"]
    backbone = _fill(prefixed, entries, where)
    return {
        collection: {**tree, "backbone": backbone[collection]["backbone"]}
        for collection, tree in variables.items()
    }


def strip_wrappers(state: Mapping) -> dict:
    """A bare state dict, from what training scripts save.

    Takes the content of `best_state_dict` or `state_dict` where there is one, and `module.` off the
    front of names.
    """
    for wrapper in ("best_state_dict", "state_dict"):
        if isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
            break
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _entries(tree: Variables) -> Iterator[_Entry]:
    for key_path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        path = tuple(str(key.key) for key in key_path)
        *layers, last = path[1:]
        name = ".".join([*layers, _LEAF_NAMES.get(last, last)])
        shape, is_kernel = tuple(leaf.shape), last in ("kernel", "transposed_kernel")
        if is_kernel:
            shape = (*shape[:-3:-1], *(shape[:-2] or (1,)))
        yield _Entry(path, name, shape, is_kernel)


def _unexpected(state: StateDict, entries: Iterable[_Entry]) -> list[str]:
    expected = {entry.name for entry in entries}
    counters = {n.replace("running_var", _COUNTER) for n in expected if n.endswith("running_var")}
    return [name for name in state if name not in expected and name not in counters]


def _fill(state: StateDict, entries: list[_Entry], where: str) -> Variables:
    unexpected = _unexpected(state, entries)
    missing = [entry.name for entry in entries if entry.name not in state]
    misshaped = [
        f"{e.name} {tuple(np.shape(state[e.name]))} for {e.shape}"
        for e in entries
        if e.name in state and tuple(np.shape(state[e.name])) != e.shape
    ]
    if missing or unexpected or misshaped:
        raise InputError(
            f"{where}: does not fit the network; missing {_listed(missing)}; "
            f"unexpected {_listed(unexpected)}; of another shape {_listed(misshaped)}; "
            "is --config the right one?"
        )
    variables: Variables = {}
    for entry in entries:
        array = np.asarray(state[entry.name]).astype(np.float32)
        if entry.is_kernel:
            array = _kernel_from_torch(array)
        node = variables
        for key in entry.path[:-1]:
            node = node.setdefault(key, {})
        node[entry.path[-1]] = array
    return variables


def _kernel_to_torch(kernel: np.ndarray) -> np.ndarray:
    """[h, w, in, out] -> [out, in, h, w]; [in, out] -> [out, in, 1]."""
    return np.transpose(kernel, (3, 2, 0, 1)) if kernel.ndim == 4 else kernel.T[..., None]


def _kernel_from_torch(weight: np.ndarray) -> np.ndarray:
    """The other way round."""
    return np.transpose(weight, (2, 3, 1, 0)) if weight.ndim == 4 else weight[..., 0].T


def _get(tree: Variables, path: Iterable[str]) -> Any:
    return functools.reduce(lambda node, key: node[key], path, tree)


def _listed(names: list[str], most: int = 20) -> str:
    if not names:
        return "nothing"
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return f"[{', '.join(names[:most])}{rest}]"
