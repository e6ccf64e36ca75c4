"""COCO keypoints 2017: trained on train2017, tested on val2017 and test-dev2017.

Paper: AP 67.4 on val2017; the released weights reach 67.3.

    pinet-jax train --config coco --workdir runs/coco --init-backbone hrnet_w32-36af842e.pth
"""

from data_pipelines.config import DataConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, PaperResult
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import TrainingConfig


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph with two blocks."""
    return ExperimentConfig(
        model=PINet(COCO_17, refinement=RefinementConfig(blocks=2)),
        data=DataConfig("coco_keypoints", train_split="train", eval_split="val", min_keypoints=11),
        training=TrainingConfig(
            batch_size=40, epochs=140, optimizer=OptimizerConfig(drops=(90, 120))
        ),
        loop=LoopConfig(batch_size=8, save_every=2000),
        paper=PaperResult.percent("COCO val2017", AP=67.4),
    )
