"""A variant of table 1c: a trained graph of its own in every layer.

The paper has no figure for it; its dynamic graph reaches AP 59.8 on OCHuman test.

    pinet-jax train --config ochuman_dynamic_per_layer --workdir runs/ochuman_dynamic_per_layer \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig


def get_config() -> ExperimentConfig:
    """A trained graph of its own in every layer."""
    config = ochuman.get_config()
    refinement = RefinementConfig(graph=graphs.dynamic_per_layer)
    return dataclasses.replace(
        config, model=dataclasses.replace(config.model, refinement=refinement)
    )
