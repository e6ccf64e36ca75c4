"""How one leaf of our variables stands in a PyTorch state dict.

linen's kernels are [h, w, in, out] and [in, out], torch's are [out, in, h, w] and [out, in, 1]. Of
transposed convolutions ours are [h, w, out, in], torch's [in, out, h, w].
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

_LEAF_NAMES = {
    "kernel": "weight",
    "transposed_kernel": "weight",
    "scale": "weight",
    "mean": "running_mean",
    "var": "running_var",
}


class Entry(NamedTuple):
    """A leaf's place in a state dict.

    Attributes:
        names: in the state dict: one, or several whose arrays together make up the leaf.
        to_torch: the leaf's array -> the named arrays, in their order.
        from_torch: the named arrays -> the leaf's array; the exact inverse.
    """

    names: tuple[str, ...]
    to_torch: Callable[[np.ndarray], Sequence[np.ndarray]]
    from_torch: Callable[[Sequence[np.ndarray]], np.ndarray]


def torch_entry(path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
    """The entry of a layer that torch has, too: its names joined by dots, its kernel transposed.

    Args:
        path: of the leaf: collection, layers, leaf.
        shape: of the leaf.
    """
    *layers, leaf = path[1:]
    name = ".".join([*layers, _LEAF_NAMES.get(leaf, leaf)])
    if leaf not in ("kernel", "transposed_kernel"):
        return one_array(name, lambda array: array, lambda array: array)
    if len(shape) == 4:
        return one_array(
            name, lambda kernel: kernel.transpose(3, 2, 0, 1), lambda w: w.transpose(2, 3, 1, 0)
        )
    return one_array(name, lambda kernel: kernel.T[..., None], lambda weight: weight[..., 0].T)


def one_array(
    name: str,
    to_torch: Callable[[np.ndarray], np.ndarray],
    from_torch: Callable[[np.ndarray], np.ndarray],
) -> Entry:
    """An entry of a single name."""
    return Entry((name,), lambda array: (to_torch(array),), lambda arrays: from_torch(arrays[0]))
