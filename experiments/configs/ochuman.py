"""OCHuman, the paper's main table: trained on its val, tested on its test.

Paper: AP 59.8, AP50 74.9, AP75 65.9 (protocol A: no ground-truth boxes, no COCO).

    pinet-jax train --config ochuman --workdir runs/ochuman --init-backbone hrnet_w32-36af842e.pth

Where the devices cannot hold 20 images at once, add `--training.accumulate 4`.
"""

from data_pipelines.config import DataConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, PaperResult
from pinet_jax.methods.pinet import PINet
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import TrainingConfig


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph."""
    return ExperimentConfig(
        model=PINet(COCO_17),
        data=DataConfig("ochuman", train_split="val", eval_split="test"),
        training=TrainingConfig(
            batch_size=20, epochs=140, optimizer=OptimizerConfig(drops=(90, 120))
        ),
        loop=LoopConfig(batch_size=8),
        paper=PaperResult.percent("Table 1", AP=59.8, AP50=74.9, AP75=65.9),
    )
