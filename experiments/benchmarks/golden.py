"""The reference's golden figures, as tests and the accelerator's benchmark read them.

No weights are stored: every array of a network is drawn from its name.

Legend for shapes: a map of h x w positions, N poses, K keypoints.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14

FOLDER = Path(__file__).parents[2] / "tests" / "golden"
METHODS = {
    "ochuman": PINet(COCO_17),
    "crowdpose": PINet(CROWDPOSE_14),
    "coco": PINet(COCO_17, refinement=RefinementConfig(blocks=2)),
}


def read_shapes(file: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a released model's arrays, from a JSON file."""
    return {name: tuple(shape) for name, shape in json.loads(file.read_text()).items()}


def draw_state_dict(
    method: PINet, shapes: Mapping[str, tuple[int, ...]], dtype: type = np.float32
) -> dict[str, np.ndarray]:
    """The arrays that the golden figures were made with."""
    state: dict[str, np.ndarray] = {}
    for name in shapes:
        array = (
            method.skeleton.normalized_adjacency() if name == "pr.adj" else draw_array(name, shapes)
        )
        state[name] = np.asarray(array).astype(dtype_of(name, dtype))
    return state


def dtype_of(name: str, dtype: type) -> type:
    """Of an array by its name: counts are whole numbers, all others `dtype`."""
    return np.int64 if name.endswith("num_batches_tracked") else dtype


def draw_array(name: str, shapes: Mapping[str, tuple[int, ...]]) -> np.ndarray:
    """One array of a network, by the rule of the golden figures' README.

    Args:
        name: of the array.
        shapes: of all arrays by name.
    """
    shape, rng = shapes[name], np.random.default_rng(zlib.crc32(name.encode()))
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


def read_figures(name: str) -> dict[str, np.ndarray]:
    """The arrays of a file in tests/golden."""
    with np.load(FOLDER / name, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def relative_error(actual: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, as a part of the largest expected entry."""
    actual = np.asarray(actual).reshape(expected.shape)
    return float(np.abs(actual - expected).max() / np.abs(expected).max())
