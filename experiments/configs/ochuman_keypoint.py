"""Table 1b: poses from single keypoints.

Paper: AP 40.8 on OCHuman test.

    pinet-jax train --config ochuman_keypoint --workdir runs/ochuman_keypoint \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """The head and twelve joints; neither refinement nor fusion."""
    config = ochuman.get_config()
    model = dataclasses.replace(config.model, partition="keypoint", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)
