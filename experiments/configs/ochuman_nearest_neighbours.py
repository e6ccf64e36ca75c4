"""A variant of table 1c: the nearest keypoints in feature space (EdgeConv's graph).

The paper has no figure for it; its dynamic graph reaches AP 59.8 on OCHuman test.

    pinet-jax train --config ochuman_nearest_neighbours --workdir runs/ochuman_nearest_neighbours \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """The nearest keypoints in feature space (EdgeConv's graph)."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.nearest_neighbours)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
