"""Synthetic crowds and the smallest network: minutes of training on a laptop's CPU, no download.

The ablations and the quickstart train it. Its AP after 16,000 images is in `docs/ablations.md`.

    pinet-jax train --config synthetic_shallow --workdir runs/synthetic_shallow
"""

from data_pipelines.config import DataConfig
from data_pipelines.synthetic_crowds.config import CrowdConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, SyntheticConfig
from pinet_jax.methods.pinet import LossConfig, PINet, PINetInference
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import TrainingConfig


def get_config() -> ExperimentConfig:
    """An HRNet of half of W32's width and a tenth of its blocks, on crowds of 192 x 192 pixels."""
    backbone = HRNetConfig(
        stem_width=32, bottleneck_width=16, bottlenecks=1, width=16, modules=(1, 1, 1), blocks=2
    )
    return ExperimentConfig(
        model=PINet(
            COCO_17,
            backbone=backbone,
            refinement=RefinementConfig(blocks=2),
            min_part_area=16**2,  # people here are small: a quarter of the paper's input area
            loss=LossConfig(
                # Without ImageNet's features to start from, offsets learn sooner with a weight
                # that brings their loss to the size of the points'.
                offset_factor=0.3,
                refinement_factor=0.3,
                # A third of the paper's poses an image: refinement would take half of the time.
                proposals=36,
            ),
        ),
        data=DataConfig(max_people=8),
        synthetic=SyntheticConfig(CrowdConfig(size=192), passes=4),
        inference=PINetInference(input_size=256),  # better than 192, although trained at that
        training=TrainingConfig(
            batch_size=16,
            epochs=40,
            optimizer=OptimizerConfig(
                method="muon", learning_rate=5e-3, schedule="cosine", warmup_epochs=0.5
            ),
            ema_decay=0.999,
        ),
        loop=LoopConfig(save_every=250, evaluate_every=5),
    )
