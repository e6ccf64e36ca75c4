"""Synthetic crowds and a small network: a whole training on a laptop's CPU, without any download.

pinet-jax train --config synthetic_tiny --workdir runs/synthetic_tiny
"""

import dataclasses

from data_pipelines.synthetic_crowds.config import CrowdConfig
from experiments.configs import synthetic_shallow
from experiments.configs.base import ExperimentConfig, SyntheticConfig
from pinet_jax.methods.pinet import PINetInference


def get_config() -> ExperimentConfig:
    """An HRNet of half of W32's width and fewer blocks, on crowds of 256 x 256 pixels."""
    config = synthetic_shallow.get_config()
    backbone = dataclasses.replace(config.model.backbone, modules=(1, 4, 2))
    optimizer = dataclasses.replace(config.training.optimizer, learning_rate=4e-3)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, backbone=backbone),
        synthetic=SyntheticConfig(CrowdConfig(size=256), passes=2),
        # Better than 256, although trained at that.
        inference=PINetInference(input_size=320),
        training=dataclasses.replace(config.training, epochs=32, optimizer=optimizer),
    )
