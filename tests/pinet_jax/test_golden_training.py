"""Three Adam steps of the released PyTorch code, step for step. Compiling takes minutes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods.pinet import LossConfig, PINet
from pinet_jax.networks.inputs import IMAGENET_MEAN, IMAGENET_STD
from pinet_jax.networks.layers import BatchNormConfig
from pinet_jax.runtime import make_mesh, replicated
from pinet_jax.training import Training, TrainingConfig, compile_train_step, for_tpus
from tests.conftest import golden
from tests.weights_rule import CONFIGS, state_dict

pytestmark = pytest.mark.slow

CONFIG = TrainingConfig(batch_size=2, batch_norm=BatchNormConfig(unbiased_running_variance=True))
METHOD = CONFIGS["ochuman"]


class Recorded(PINet):
    """The reference stored its targets as float32."""

    def targets(self, batch):
        dtype = batch["keypoints"].dtype
        return jax.tree.map(lambda x: x.astype(jnp.float32).astype(dtype), super().targets(batch))


def steps(dtype, blocks=False):
    """States and losses of three steps; with `blocks` as a TPU takes them."""
    figures = golden("train_ochuman.npz")
    method = Recorded(METHOD.skeleton, loss=LossConfig(batch_minimum=True))
    ready = Training.make(method, CONFIG, steps_per_epoch=1000, dtype=dtype)
    if blocks:
        mesh = make_mesh(jax.devices()[:1])
        ready = ready._replace(network=for_tpus(ready.network, mesh))
    # The reference's graph in its own rounding: near dead channels even that shows.
    weights = state_dict("ochuman") | {"pr.adj": golden("network_ochuman.npz")["adjacency"]}
    variables = from_state_dict(weights, method)
    state = ready.init_state(jax.tree.map(lambda x: jnp.asarray(x, dtype), variables))
    # The reference normalised on the host; XLA divides by 255 with another last bit, which the
    # random network turns into 1e-6 of the loss.
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    batch = {
        "image": (figures["images"].astype(np.float32) / np.float32(255) - mean) / std,
        "keypoints": (figures["keypoints"] * [4, 4, 1]).astype(dtype),
        "area": figures["area"].astype(dtype),
        "valid_mask": np.ones((2, 32, 32), np.uint8),
    }
    step = compile_train_step(ready, make_mesh(jax.devices()[:1]))
    state = jax.device_put(state, replicated(make_mesh(jax.devices()[:1])))
    for _ in range(3):
        state, metrics = step(state, batch)
        losses = [float(metrics[name]) for name in ("point", "offset", "refinement")]
        # Adam's first moment after one step is a tenth of the gradient.
        yield jax.device_get(state), losses, float(metrics["gradient_norm"])


def gradients(state):
    moments = jax.tree.map(lambda x: x * 10, state.opt_state[0].mu)
    return to_state_dict({"params": moments}, METHOD)


def test_float64_three_steps():
    figures = golden("train_ochuman.npz")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        for number, (state, losses, norm) in enumerate(steps(np.float64)):
            np.testing.assert_allclose(losses, figures[f"f64_step{number}_losses"], rtol=1e-6)
            if number == 0:
                np.testing.assert_allclose(norm, figures["f64_step0_grad_norm"], rtol=1e-6)
                check_gradients(state, figures, 1e-6)
        after = to_state_dict({"params": state.params, "batch_stats": state.batch_stats}, METHOD)
    # Not pr.adj: where its gradient is nothing but rounding, Adam still takes a whole step.
    for key in (k for k in figures if k.startswith("f64_after3:") and "running" in k):
        error = np.abs(after[key.split(":")[1]] - figures[key]).max()
        assert error < 2e-5 * np.abs(figures[key]).max(), key


def test_float64_first_step_in_blocks():
    figures = golden("train_ochuman.npz")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        state, losses, norm = next(steps(np.float64, blocks=True))
        np.testing.assert_allclose(losses, figures["f64_step0_losses"], rtol=1e-6)
        np.testing.assert_allclose(norm, figures["f64_step0_grad_norm"], rtol=1e-6)
        check_gradients(state, figures, 1e-6)


def test_float32_first_step():
    figures = golden("train_ochuman.npz")
    _, losses, _ = next(steps(np.float32))
    np.testing.assert_allclose(losses, figures["f32_step0_losses"], rtol=1e-4)


def check_gradients(state, figures, tolerance):
    ours, prefix = gradients(state), "f64_step0_grad:"
    errors = {}
    for key in (k for k in figures if k.startswith(prefix)):
        error = np.abs(ours[key.removeprefix(prefix)] - figures[key]).max()
        errors[key] = float(error / np.abs(figures[key]).max())
    assert max(errors.values()) < tolerance, errors
