"""The golden figures' weights: every tensor is made from its name."""

import numpy as np

from experiments.benchmarks.golden import METHODS, draw_state_dict, read_shapes
from tests.conftest import golden_path

CONFIGS = METHODS


def manifest(dataset: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the released model."""
    return read_shapes(golden_path(f"state_dict_{dataset}.json"))


def state_dict(dataset: str, dtype: type = np.float32) -> dict[str, np.ndarray]:
    """The arrays by the rule of the golden figures' README."""
    return draw_state_dict(CONFIGS[dataset], manifest(dataset), dtype)
