"""What an experiment is: a network, its data, its training and its test."""

from __future__ import annotations

import dataclasses

from data_pipelines.config import DataConfig
from pinet_jax.inference import InferenceConfig
from pinet_jax.models.config import PINetConfig


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """One file of this folder makes one of these."""

    model: PINetConfig
    data: DataConfig = DataConfig()
    inference: InferenceConfig = InferenceConfig()
