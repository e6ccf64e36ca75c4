"""Table 1a first row, 1b and 1d: none of the paper's parts (SPM, Nie et al., ICCV 2019).

Paper: AP 47.6, AP50 67.5, AP75 53.2 on OCHuman test.

    pinet-jax train --config ochuman_spm --workdir runs/ochuman_spm \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """One part of all keypoints; neither refinement nor fusion."""
    config = ochuman.get_config()
    model = dataclasses.replace(config.model, partition="center", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)
