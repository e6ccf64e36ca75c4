"""Weights of the golden figures of other systems: made from names, and then strengthened or not."""

import json
import zlib

import jax
import numpy as np

from pinet_jax.networks.initializers import abstract_variables
from tests.conftest import golden_path


def state_dict(file, gains=(), biases=()):
    """The arrays by the rule of the README beside the file.

    Args:
        file: names and shapes, in the golden folder.
        gains: pairs of a name and a factor.
        biases: pairs of a name and a number, which takes the place of the drawn ones.
    """
    content = json.loads(golden_path(file).read_text())
    shapes = {name: tuple(shape) for name, shape in content.items()}
    gains, biases, state = dict(gains), dict(biases), {}
    for name, shape in shapes.items():
        drawn = _draw(name, shape, shapes, np.random.default_rng(zlib.crc32(name.encode())))
        array = np.full(shape, biases[name]) if name in biases else drawn * gains.get(name, 1)
        state[name] = array.astype(np.int64 if name.endswith("num_batches_tracked") else np.float32)
    return state


def _draw(name, shape, shapes, rng):
    layer, leaf = name.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.zeros(shape)
    if leaf == "running_var":
        return rng.uniform(0.8, 1.2, shape)
    if leaf in ("running_mean", "bias"):
        return rng.normal(size=shape) * 0.05
    if f"{layer}.running_mean" in shapes:
        return rng.uniform(0.4, 0.6, shape)
    return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))


def variables(method, state):
    def fill(path, leaf):
        entry = method.state_dict_entry(tuple(key.key for key in path), leaf.shape)
        array = np.asarray(entry.from_torch([state[name] for name in entry.names]))
        assert array.shape == leaf.shape
        return array

    return jax.tree_util.tree_map_with_path(fill, abstract_variables(method.network()))
