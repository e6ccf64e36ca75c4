"""Three Adam steps of the released top-down code, step for step. Compiling takes minutes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pinet_jax.inference import cpu_compiler_options
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.models.config import W32, BatchNormConfig
from pinet_jax.models.pinet import IMAGENET_MEAN, IMAGENET_STD
from pinet_jax.networks.resnet import RESNET_50
from pinet_jax.networks.simple_baseline import SimpleBaseline, TopDownHRNet
from pinet_jax.person_heatmaps import HeatmapTargets, heatmap_loss
from tests.topdown import figures, rule_variables

pytestmark = pytest.mark.slow

RES50 = (SimpleBaseline, RESNET_50, "res50_coco", 0.6, 0.9)
W32_NET = (TopDownHRNet, W32, "hrnet_w32_coco", 0.4, 0.6)
OPTIMIZER = optax.adam(1e-3)


def make_step(network, images, targets):
    """One step from (params, batch_stats, moments); its loss and gradients beside them."""

    def loss_of(params, batch_stats):
        variables = {"params": params, "batch_stats": batch_stats}
        heatmap, new = network.apply(variables, images, train=True, mutable=["batch_stats"])
        return heatmap_loss(heatmap, targets), new["batch_stats"]

    def step(params, batch_stats, moments):
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, batch_stats), gradients = gradient_of(params, batch_stats)
        updates, moments = OPTIMIZER.update(gradients, moments, params)
        params = optax.apply_updates(params, updates)
        return (params, batch_stats, moments), loss, gradients

    return jax.jit(step, compiler_options=cpu_compiler_options())


def check(arrays, golden, prefix, tolerance):
    names = [key for key in golden if key.startswith(prefix) and not key.endswith("_f32")]
    assert names
    for key in names:
        error = np.abs(arrays[key.removeprefix(prefix).removesuffix("_f64")] - golden[key]).max()
        assert error < tolerance * np.abs(golden[key]).max(), key


@pytest.mark.parametrize(("make", "backbone", "name", "low", "high"), [RES50, W32_NET])
def test_float64_three_steps(make, backbone, name, low, high):
    golden = figures(f"sb_train_{name}_bn{low}-{high}")
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    images = (golden["images"].astype(np.float32) / np.float32(255) - mean) / std
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        batch_norm = BatchNormConfig(unbiased_running_variance=True)
        network = make(backbone, 17, dtype=jnp.float64, batch_norm=batch_norm)
        start = rule_variables(make(backbone, 17), name, low, high)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), start)
        heatmap = np.moveaxis(golden["target_nkhw"], 1, -1)
        targets = HeatmapTargets(
            jnp.asarray(heatmap, jnp.float64), jnp.asarray(golden["weight"], jnp.float64)
        )
        step = make_step(network, jnp.asarray(images, jnp.float64), targets)
        params = variables["params"]
        state = (params, variables["batch_stats"], OPTIMIZER.init(params))
        for number in range(3):
            state, loss, gradients = step(*state)
            np.testing.assert_allclose(loss, golden["losses_f64"][number], rtol=1e-6)
            if number == 0:
                check(to_state_dict({"params": gradients}), golden, "grad_", 1e-5)
                check(to_state_dict({"batch_stats": state[1]}), golden, "bn_", 1e-5)
        check(to_state_dict({"params": state[0]}), golden, "after3_", 1e-5)
