"""What training, testing and files ask of every method, on its smallest network."""

import dataclasses
import functools
import json

import jax
import numpy as np
import pytest

from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.inference import Predictor
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods import METHODS, config_from_json, config_to_json
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.runtime import make_mesh, replicated
from pinet_jax.training import OptimizerConfig, Training, TrainingConfig, compile_train_step
from tests.tiny import MICRO, batch, lively_variables

FINEST = dataclasses.replace(MICRO, concatenated=False)
VALUES = {
    "spm": PINet(partition="center", backbone=MICRO, refinement=None),
    "cid": CID(backbone=MICRO),
    "higher_hrnet": HigherHRNet(backbone=FINEST, blocks=1),
    "ae": HigherHRNet(backbone=FINEST, doublings=0),
}
TESTS = {
    "spm": PINetInference(input_size=64, fusion=False),
    "cid": CIDInference(input_size=64, oks_threshold=0.7),
    "higher_hrnet": HigherHRNetInference(input_size=64, scales=(1.0, 0.5)),
    "ae": HigherHRNetInference(input_size=64, poses=20),
}
each = pytest.mark.parametrize("name", VALUES)


@functools.cache
def variables(name):
    """Of a network that finds somebody."""
    lively = lively_variables(VALUES[name])
    if name == "cid":  # what goes through a sigmoid must not be as lively, nor begin at 0.01
        gentler = {4: 0.1, 2: 1.0, 1: 0.0}  # kernels, gates, biases
        heads = {key: lively["params"][key] for key in ("iia", "gfd")}
        lively["params"] |= jax.tree.map(lambda x: x * np.float32(gentler[x.ndim]), heads)
    return lively


@functools.cache
def predictor(name):
    return Predictor(VALUES[name], variables(name), TESTS[name])


def picture(seed=0):
    return np.random.default_rng(seed).integers(0, 256, (70, 90, 3)).astype(np.uint8)


@each
def test_its_losses_fall(name):
    """On eight devices, that a step computes what it says and nothing is left to one of them."""
    config = TrainingConfig(batch_size=8, optimizer=OptimizerConfig(learning_rate=3e-3))
    training = Training.make(VALUES[name], config, steps_per_epoch=10)
    mesh = make_mesh()
    state = training.init_state(init_variables(VALUES[name]))
    state = jax.device_put(state, replicated(mesh), may_alias=False)
    step, losses = compile_train_step(training, mesh), []
    for _ in range(24):  # CID's heads begin small: people's own maps wait for the others
        state, metrics = step(state, batch(8))
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]


@each
def test_it_finds_poses_in_the_images_pixels(name):
    stages = predictor(name).predict_stages([picture()])[0]
    assert set(stages) == set(VALUES[name].stages)
    for poses in stages.values():
        assert len(poses.scores) > 0 and poses.keypoints.shape[1:] == (17, 3)
        assert np.isfinite(poses.keypoints).all()
    assert (np.diff(stages["final"].scores) <= 0).all()


@each
def test_neighbours_in_a_batch_change_nothing(name):
    together = predictor(name).predict_batch([picture(0), picture(1)], batch_size=4)
    for seed, poses in enumerate(together):
        alone = predictor(name).predict(picture(seed))
        assert poses.keypoints.shape == alone.keypoints.shape
        size = np.abs(alone.keypoints).max()
        np.testing.assert_allclose(poses.keypoints, alone.keypoints, rtol=0, atol=1e-4 * size)


@each
def test_a_checkpoint_holds_all_of_it(name, tmp_path):
    save_model(tmp_path / "model", VALUES[name], init_variables(VALUES[name]), TESTS[name])
    model = load_model(tmp_path / "model")
    assert (model[0], model[2]) == (VALUES[name], TESTS[name])
    jax.tree.map(np.testing.assert_array_equal, model[1], init_variables(VALUES[name]))


@each
def test_its_config_survives_json(name):
    content = json.loads(json.dumps(config_to_json(VALUES[name], TESTS[name])))
    assert config_from_json(content, where="test") == (VALUES[name], TESTS[name])


@each
def test_the_released_names_come_and_go_exactly(name):
    state = to_state_dict(variables(name), VALUES[name])
    again = from_state_dict(state, VALUES[name])
    jax.tree.map(np.testing.assert_array_equal, again, variables(name))


def test_every_method_is_tested_here():
    assert {type(method) for method in VALUES.values()} == set(METHODS)
