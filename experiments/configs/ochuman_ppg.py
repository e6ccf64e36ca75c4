"""Table 1a, 1b (part-large) and 1d: part-based pose generation alone.

Paper: AP 53.1, AP50 70.5, AP75 60.4 on OCHuman test.

    pinet-jax train --config ochuman_ppg --workdir runs/ochuman_ppg \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """Neither refinement nor fusion."""
    config = ochuman.get_config()
    model = dataclasses.replace(config.model, partition="part-large", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)
