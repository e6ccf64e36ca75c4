"""CrowdPose: trained on trainval, tested on test.

Paper: AP 68.9, AP50 88.7, AP75 74.7, easy 75.4, medium 69.6, hard 61.5.
"""

from experiments.configs.base import ExperimentConfig
from pinet_jax.inference import InferenceConfig
from pinet_jax.models.config import PINetConfig
from pinet_jax.skeletons import CROWDPOSE_14


def get_config() -> ExperimentConfig:
    """HRNet-W32, part-large, dynamic graph."""
    return ExperimentConfig(
        model=PINetConfig(CROWDPOSE_14), inference=InferenceConfig(scale_decrease=0.8)
    )
