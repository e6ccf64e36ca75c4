"""The released top-down code's figures, and weights that are made from their names."""

import functools
import json
import zlib

import numpy as np

from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet
from tests.conftest import golden, golden_path

FOLDER = "baselines/simple_baseline"
# By the name of the figures: the method, the manifest, and the range of normalisations' weights.
CASES = {
    "res50_coco_bn0.6-0.9": (SimpleBaseline(), "res50_coco", 0.6, 0.9),
    "hrnet_w32_coco_bn0.4-0.6": (TopDownHRNet(), "hrnet_w32_coco", 0.4, 0.6),
}


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


@functools.cache
def rule_variables(case: str):
    """The variables of a golden case."""
    method, *rule = CASES[case]
    return from_state_dict(rule_state_dict(*rule), method)
