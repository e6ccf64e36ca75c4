"""The released top-down code's figures, and weights that are made from their names."""

import functools
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.interop import state_dict
from tests.conftest import golden, golden_path

FOLDER = "baselines/simple_baseline"


def figures(name: str) -> dict[str, np.ndarray]:
    return golden(f"{FOLDER}/{name}.npz")


def rule_state_dict(name: str, low: float, high: float) -> dict[str, np.ndarray]:
    """The arrays by the rule of the golden figures' README.

    Args:
        name: of the manifest, such as "res50_coco".
        low: of the normalisations' weights.
        high: likewise.
    """
    manifest = json.loads(golden_path(f"{FOLDER}/state_dict_{name}.json").read_text())
    return {key: _drawn(key, tuple(shape), manifest, low, high) for key, shape in manifest.items()}


def _drawn(key, shape, manifest, low, high):
    rng = np.random.default_rng(zlib.crc32(key.encode()))
    layer, leaf = key.rsplit(".", 1)
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if leaf == "running_var":
        return rng.uniform(0.8, 1.2, shape).astype(np.float32)
    if leaf in ("running_mean", "bias"):
        return (rng.normal(size=shape) * 0.05).astype(np.float32)
    if f"{layer}.running_mean" in manifest:
        return rng.uniform(low, high, shape).astype(np.float32)
    return (rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))).astype(np.float32)


def abstract(network):
    """The shapes of a network's variables."""
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(network.init, jax.random.key(0), image)


@functools.cache
def rule_variables(network, name: str, low: float, high: float):
    """The variables of `rule_state_dict`."""
    entries = list(state_dict._entries(abstract(network)))
    return state_dict._fill(rule_state_dict(name, low, high), entries, name)
