"""A network with further blocks computes what it computed without, and they can learn."""

import dataclasses

import jax
import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.interop.deepening import deepened
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.layers import Compute
from pinet_jax.skeletons import COCO_17


@pytest.mark.slow
def test_a_deeper_network_begins_as_the_shallower_one():
    shallow = HRNetConfig(8, 4, 1, width=4, modules=(1, 1, 1), blocks=1)
    deep = dataclasses.replace(shallow, bottlenecks=2, modules=(2, 1, 2), blocks=2)
    config = PINet(COCO_17, backbone=shallow, refinement=None)
    deeper = dataclasses.replace(config, backbone=deep)
    rng = np.random.default_rng(0)
    variables = jax.tree.map(
        lambda x: (x + rng.uniform(0.1, 0.5, x.shape)).astype("f4"), init_variables(config)
    )
    grown = deepened(variables, deeper)
    images = rng.normal(size=(2, 64, 64, 3)).astype("f4")

    outputs = jax.jit(config.network().apply)(variables, images)
    same = jax.jit(deeper.network().apply)(grown, images)
    jax.tree.map(np.testing.assert_array_equal, same, outputs)

    def loss(params):
        state = {"params": params, "batch_stats": grown["batch_stats"]}
        network = deeper.network(Compute(train=True))
        features = network.apply(state, images, mutable=["batch_stats"])[0].features
        return (features**2).sum()

    gradient = jax.tree.leaves(jax.jit(jax.grad(loss))(grown["params"]))
    paths = jax.tree_util.tree_flatten_with_path(grown["params"])[0]
    learns = [
        np.any(slope)
        for (path, x), slope in zip(paths, gradient, strict=True)
        if path[-1].key == "scale" and not np.any(x)
    ]
    # Every scale of 0 is under a slope of its own: 1 in the stem, 2 + (2 * 2 + 2) in stage 2, 3 in
    # stage 3, 4 + (4 * 2 + 12) in stage 4; in parentheses blocks and fusion of a further module.
    assert len(learns) == 36 and all(learns)

    with pytest.raises(InputError, match=r"of another shape \[.* \(4,\) for \(8,\)"):
        deepened(
            variables, dataclasses.replace(config, backbone=dataclasses.replace(deep, width=8))
        )
    with pytest.raises(InputError, match=r"the shallower network: .* unexpected \[backbone"):
        deepened(grown, config)
