"""COCO keypoints 2017: trained on train2017, tested on val2017 and test-dev2017.

Paper: AP 67.4 on val2017; the released weights reach 67.3.
"""

from experiments.configs.base import ExperimentConfig
from pinet_jax.models.config import PINetConfig, RefinementConfig
from pinet_jax.skeletons import COCO_17


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph with two blocks."""
    return ExperimentConfig(model=PINetConfig(COCO_17, refinement=RefinementConfig(blocks=2)))
