"""The smallest network and data that train, so that compiling takes seconds."""

import dataclasses

import jax
import numpy as np

from data_pipelines.synthetic_crowds.config import CrowdConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, SyntheticConfig
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import TrainingConfig

BACKBONE = HRNetConfig(
    stem_width=8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1,), blocks=1
)
MICRO = HRNetConfig(
    stem_width=8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1, 1, 1), blocks=1
)  # with all branches
MODEL = PINet(COCO_17, backbone=BACKBONE, refinement=RefinementConfig(blocks=1))


def experiment(**training) -> ExperimentConfig:
    """Two synthetic epochs of two steps, of four images each."""
    return ExperimentConfig(
        model=MODEL,
        synthetic=SyntheticConfig(
            CrowdConfig(people=(1, 2), size=64), epoch_images=8, test_images=2
        ),
        inference=PINetInference(input_size=64, flip=False),
        training=TrainingConfig(**{"batch_size": 4, "epochs": 2} | training),
        loop=LoopConfig(log_every=1, save_every=1, evaluate_every=0),
    )


def lively_variables(config: PINet) -> Variables:
    """Of a network that is random enough to find something everywhere."""
    rng = np.random.default_rng(0)

    def enlarged(leaf):
        if leaf.ndim < 4:
            return leaf
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype("f4")

    return jax.tree.map(enlarged, init_variables(config))


def with_loop(config: ExperimentConfig, **loop) -> ExperimentConfig:
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, **loop))


def batch(count: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Noise with one or two people an image, 64 x 64 pixels."""
    rng = np.random.default_rng(seed)
    keypoints = np.concatenate(
        [4 * rng.uniform(1, 15, (count, 2, 17, 2)), rng.integers(0, 3, (count, 2, 17, 1))], axis=-1
    )
    keypoints[::2, 1] = 0
    return {
        "image": rng.integers(0, 256, (count, 64, 64, 3), np.uint8),
        "keypoints": keypoints.astype(np.float32),
        "area": rng.uniform(1100, 2000, (count, 2)).astype(np.float32),
        "corners": rng.uniform(0, 63, (count, 2, 4, 2)).astype(np.float32),
        "valid_mask": np.ones((count, 16, 16), np.uint8),
    }
