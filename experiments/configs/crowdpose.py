"""CrowdPose: trained on trainval, tested on test.

Paper: AP 68.9, AP50 88.7, AP75 74.7, easy 75.4, medium 69.6, hard 61.5.

    pinet-jax train --config crowdpose --workdir runs/crowdpose \\
        --init-backbone hrnet_w32-36af842e.pth
"""

from data_pipelines.config import DataConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, PaperResult
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import CROWDPOSE_14
from pinet_jax.training import TrainingConfig


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph."""
    return ExperimentConfig(
        # Small people have part points here.
        model=PINet(CROWDPOSE_14, min_part_area=0),
        data=DataConfig("crowdpose", train_split="trainval", eval_split="test"),
        inference=PINetInference(scale_decrease=0.8),
        training=TrainingConfig(
            batch_size=40,
            epochs=300,
            optimizer=OptimizerConfig(drops=(200, 260)),
        ),
        loop=LoopConfig(batch_size=8),
        paper=PaperResult.percent(
            "CrowdPose test",
            AP=68.9,
            AP50=88.7,
            AP75=74.7,
            AP_easy=75.4,
            AP_medium=69.6,
            AP_hard=61.5,
        ),
    )
