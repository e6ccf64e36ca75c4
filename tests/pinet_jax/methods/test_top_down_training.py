"""Top-down methods in what knows no method: the train step, checkpoints, files, complexity."""

import json

import jax
import numpy as np
import pytest

from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.complexity import count_complexity
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods import config_from_json, config_to_json
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet, TopDownInference
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.runtime import make_mesh, replicated
from pinet_jax.training import Training, TrainingConfig, compile_train_step
from tests.pinet_jax.methods.test_simple_baseline import HRNET, RESNET, SHAPE

METHODS = pytest.mark.parametrize("method", [RESNET, HRNET], ids=["resnet", "hrnet"])


def batch(count=4):
    rng = np.random.default_rng(0)
    points = rng.uniform(0, [SHAPE[1], SHAPE[0]], (count, 1, 17, 2))
    visible = rng.integers(0, 3, (count, 1, 17, 1))
    return {
        "image": rng.integers(0, 256, (count, *SHAPE, 3), np.uint8),
        "keypoints": np.concatenate([points, visible], axis=-1).astype(np.float32),
    }


@METHODS
def test_the_loss_falls(method):
    config = TrainingConfig(batch_size=4, optimizer=OptimizerConfig(learning_rate=3e-3))
    training, mesh = Training.make(method, config, 1000), make_mesh(jax.devices()[:2])
    step = compile_train_step(training, mesh)
    state = jax.device_put(training.init_state(init_variables(method)), replicated(mesh))
    losses = []
    for _ in range(12):
        state, metrics = step(state, batch())
        losses.append(float(metrics["loss"]))
    assert losses[-1] < 0.9 * losses[0]
    assert metrics.keys() == {"loss", "heatmap", "gradient_norm", "learning_rate"}


@METHODS
def test_checkpoints_and_files_give_back_method_and_variables(method, tmp_path):
    variables, inference = init_variables(method), TopDownInference(flip=False)
    save_model(tmp_path / "micro", method, variables, inference)
    stored, read, procedure = load_model(tmp_path / "micro")
    assert (stored, procedure) == (method, inference)
    jax.tree.map(np.testing.assert_array_equal, read, variables)
    again = from_state_dict(to_state_dict(variables, method), method)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.parametrize("method", [SimpleBaseline(), TopDownHRNet(), RESNET, HRNET])
def test_configs_survive_json(method):
    content = json.loads(json.dumps(config_to_json(method, TopDownInference())))
    assert config_from_json(content, where="test") == (method, TopDownInference())


@pytest.mark.parametrize(
    ("method", "multiply_adds"), [(SimpleBaseline(), 5.426e9), (TopDownHRNet(), 7.645e9)]
)
def test_complexity_of_a_crop(method, multiply_adds):
    """The released tables count a transposed convolution four times; these are the true ones."""
    counted = sum(c.multiply_adds for c in count_complexity(method, (256, 192)).values())
    assert round(counted / 1e6) == multiply_adds / 1e6
