"""Synthetic crowds and a small network: a whole training on a laptop's CPU, without any download.

The network that comes with the package is this one; `pinet_jax/pretrained/synthetic_tiny.md` has
its trainings, log and figures: AP 39.3 on rendered crowds.

    pinet-jax train --config synthetic_tiny --workdir runs/synthetic_tiny
"""

import dataclasses

from experiments.configs import synthetic_shallow
from experiments.configs.base import ExperimentConfig, SyntheticConfig
from pinet_jax.inference import InferenceConfig


def get_config() -> ExperimentConfig:
    """An HRNet of half of W32's width and fewer blocks, on crowds of 256 x 256 pixels."""
    config = synthetic_shallow.get_config()
    backbone = dataclasses.replace(config.model.backbone, modules=(1, 4, 2))
    optimizer = dataclasses.replace(config.training.optimizer, learning_rate=4e-3)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, backbone=backbone),
        synthetic=SyntheticConfig(passes=2),
        inference=InferenceConfig(input_size=320),  # better than 256, although trained at that
        training=dataclasses.replace(config.training, epochs=32, optimizer=optimizer),
    )
