"""Table 1b: poses from limbs. The paper does not list their members; these are ours.

Paper: AP 50.3 on OCHuman test.

    pinet-jax train --config ochuman_part_small --workdir runs/ochuman_part_small \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """Head, torso, arms and legs one by one; neither refinement nor fusion."""
    config = ochuman.get_config()
    model = dataclasses.replace(config.model, partition="part-small", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)
