"""The golden figures' weights: every tensor is made from its name."""

import json
import zlib

import numpy as np

from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import golden_path

CONFIGS = {
    "ochuman": PINet(COCO_17),
    "crowdpose": PINet(CROWDPOSE_14),
    "coco": PINet(COCO_17, refinement=RefinementConfig(blocks=2)),
}


def manifest(dataset: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released model."""
    content = json.loads(golden_path(f"state_dict_{dataset}.json").read_text())
    return {name: tuple(shape) for name, shape in content.items()}


def state_dict(dataset: str, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """The arrays by the rule of the golden figures' README."""
    shapes = manifest(dataset)
    adjacency = CONFIGS[dataset].skeleton.normalized_adjacency()
    state = {}
    for name, shape in shapes.items():
        rng = np.random.default_rng(zlib.crc32(name.encode()))
        state[name] = np.asarray(
            adjacency if name == "pr.adj" else _draw(name, shape, shapes, rng)
        ).astype(np.int64 if name.endswith("num_batches_tracked") else dtype)
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
    if name.startswith("pr.") and name.endswith(".conv.weight"):
        return rng.normal(size=shape) * np.sqrt(2 / shape[0])
    return rng.normal(size=shape) * np.sqrt(2 / np.prod(shape[1:]))
