"""Table 1c: refinement without a graph.

Paper: AP 56.8, AP50 74.1, AP75 63.0 on OCHuman test.

    pinet-jax train --config ochuman_no_graph --workdir runs/ochuman_no_graph \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """Every keypoint is refined on its own features."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.none)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
