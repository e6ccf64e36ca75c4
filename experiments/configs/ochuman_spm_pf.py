"""Table 1d: SPM with pose fusion. Trains as `ochuman_spm`, whose checkpoint it can test.

Paper: AP 48.1 on OCHuman test, from 47.6.

    pinet-jax train --config ochuman_spm_pf --workdir runs/ochuman_spm_pf \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman_spm
from experiments.configs.base import ExperimentConfig


def get_config() -> ExperimentConfig:
    """As `ochuman_spm`, fused."""
    config = ochuman_spm.get_config()
    inference = dataclasses.replace(config.inference, fusion=True)
    return dataclasses.replace(config, inference=inference)
