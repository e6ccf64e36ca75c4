"""Three Adam steps of the released top-down code, step for step. Compiling takes minutes."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.networks.inputs import IMAGENET_MEAN, IMAGENET_STD
from pinet_jax.networks.layers import BatchNormConfig, Compute
from pinet_jax.person_heatmaps import HeatmapTargets, heatmap_loss
from pinet_jax.runtime import compiler_options
from tests.topdown import CASES, figures, rule_variables

pytestmark = pytest.mark.slow

OPTIMIZER = optax.adam(1e-3)


def make_step(network, images, targets):
    """One step from (params, batch_stats, moments); its loss and gradients beside them."""

    def loss_of(params, batch_stats):
        variables = {"params": params, "batch_stats": batch_stats}
        heatmap, new = network.apply(variables, images, mutable=["batch_stats"])
        return heatmap_loss(heatmap, targets), new["batch_stats"]

    def step(params, batch_stats, moments):
        gradient_of = jax.value_and_grad(loss_of, has_aux=True)
        (loss, batch_stats), gradients = gradient_of(params, batch_stats)
        updates, moments = OPTIMIZER.update(gradients, moments, params)
        params = optax.apply_updates(params, updates)
        return (params, batch_stats, moments), loss, gradients

    return jax.jit(step, compiler_options=compiler_options("cpu"))


def check(arrays, golden, prefix, tolerance):
    names = [key for key in golden if key.startswith(prefix) and not key.endswith("_f32")]
    assert names
    for key in names:
        error = np.abs(arrays[key.removeprefix(prefix).removesuffix("_f64")] - golden[key]).max()
        assert error < tolerance * np.abs(golden[key]).max(), key


@pytest.mark.parametrize("case", CASES)
def test_float64_three_steps(case):
    golden, method = figures(f"sb_train_{case}"), CASES[case][0]
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    images = (golden["images"].astype(np.float32) / np.float32(255) - mean) / std
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        batch_norm = BatchNormConfig(unbiased_running_variance=True)
        compute = Compute(dtype=jnp.float64, train=True, batch_norm=batch_norm)
        variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), rule_variables(case))
        heatmap = np.moveaxis(golden["target_nkhw"], 1, -1)
        targets = HeatmapTargets(
            jnp.asarray(heatmap, jnp.float64), jnp.asarray(golden["weight"], jnp.float64)
        )
        step = make_step(method.network(compute), jnp.asarray(images, jnp.float64), targets)
        params = variables["params"]
        state = (params, variables["batch_stats"], OPTIMIZER.init(params))
        for number in range(3):
            state, loss, gradients = step(*state)
            np.testing.assert_allclose(loss, golden["losses_f64"][number], rtol=1e-6)
            if number == 0:
                check(to_state_dict({"params": gradients}, method), golden, "grad_", 1e-5)
                check(to_state_dict({"batch_stats": state[1]}, method), golden, "bn_", 1e-5)
        check(to_state_dict({"params": state[0]}, method), golden, "after3_", 1e-5)
