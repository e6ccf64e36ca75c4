"""A variant of table 1c: a trained graph that starts with all keypoints joined alike.

The paper has no figure for it; its dynamic graph reaches AP 59.8 on OCHuman test.

    pinet-jax train --config ochuman_fully_connected --workdir runs/ochuman_fully_connected \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """A trained graph that starts with all keypoints joined alike."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.fully_connected)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
