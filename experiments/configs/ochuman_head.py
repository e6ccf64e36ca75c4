"""Table 1b: poses from the head alone.

Paper: AP 49.8 on OCHuman test.

    pinet-jax train --config ochuman_head --workdir runs/ochuman_head \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """One part, the head; neither refinement nor fusion."""
    config = ochuman.get_config()
    model = dataclasses.replace(config.model, partition="head", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)
