"""OCHuman, the paper's main table: trained on its val, tested on its test.

Paper: AP 59.8, AP50 74.9, AP75 65.9 (protocol A: no ground-truth boxes, no COCO).
"""

from experiments.configs.base import ExperimentConfig
from pinet_jax.models.config import PINetConfig
from pinet_jax.skeletons import COCO_17


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph."""
    return ExperimentConfig(model=PINetConfig(COCO_17))
