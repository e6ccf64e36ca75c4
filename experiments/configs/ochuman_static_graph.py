"""Table 1c: refinement with the skeleton's graph, not trained.

Paper: AP 57.7, AP50 74.7, AP75 64.3 on OCHuman test. Its dynamic graph, 59.8, is `ochuman`.

    pinet-jax train --config ochuman_static_graph --workdir runs/ochuman_static_graph \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """The skeleton's graph."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.static)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
