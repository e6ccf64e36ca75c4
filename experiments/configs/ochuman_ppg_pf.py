"""Table 1a and 1d: generation and fusion. Trains as `ochuman_ppg`, whose checkpoint it can test.

Paper: AP 55.8, AP50 72.7, AP75 62.3 on OCHuman test.

    pinet-jax train --config ochuman_ppg_pf --workdir runs/ochuman_ppg_pf \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman_ppg
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """As `ochuman_ppg`, fused."""
    config = ochuman_ppg.get_config()
    inference = dataclasses.replace(config.inference, fusion=True)
    return dataclasses.replace(config, inference=inference)
