"""Synthetic crowds and a small network: a whole training on a laptop's CPU, without any download.

pinet-jax train --config synthetic_tiny --workdir runs/synthetic_tiny
"""

from data_pipelines.synthetic_crowds.config import CrowdConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, SyntheticConfig
from pinet_jax.inference import InferenceConfig
from pinet_jax.losses import LossConfig
from pinet_jax.models.config import HRNetConfig, PINetConfig, RefinementConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import OptimizerConfig, TrainingConfig


def get_config() -> ExperimentConfig:
    """An HRNet of a quarter of W32's width, 128 x 128 images of one to three people."""
    backbone = HRNetConfig(
        stem_width=16, bottleneck_width=16, bottlenecks=1, width=8, modules=(1, 1, 1), blocks=2
    )
    return ExperimentConfig(
        model=PINetConfig(COCO_17, backbone=backbone, refinement=RefinementConfig(blocks=2)),
        synthetic=SyntheticConfig(CrowdConfig(people=(1, 3), overlap=0.2, size=128)),
        inference=InferenceConfig(input_size=128),
        training=TrainingConfig(
            batch_size=8,
            epochs=8,
            optimizer=OptimizerConfig(schedule="cosine"),
            # A third of the paper's poses an image: refinement would take half of the time.
            loss=LossConfig(proposals=36),
        ),
        loop=LoopConfig(save_every=250, evaluate_every=2),
    )
