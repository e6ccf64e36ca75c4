"""Table 1a: generation and refinement. Trains as `ochuman`, whose checkpoint it can test.

Paper: AP 58.8, AP50 74.3, AP75 65.5 on OCHuman test.

    pinet-jax train --config ochuman_ppg_pr --workdir runs/ochuman_ppg_pr \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """As `ochuman`, not fused."""
    config = ochuman.get_config()
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, inference=inference)
