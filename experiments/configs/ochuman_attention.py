"""A variant of table 1c: attention between the keypoints, beside the skeleton's graph.

The paper has no figure for it; its dynamic graph reaches AP 59.8 on OCHuman test.

    pinet-jax train --config ochuman_attention --workdir runs/ochuman_attention \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """Attention between the keypoints, beside the skeleton's graph."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.attention)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
