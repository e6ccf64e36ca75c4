"""What training, testing and files ask of every method, on its smallest network."""

import dataclasses
import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.complexity import count_layers
from pinet_jax.inference import Predictor
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods import METHODS, config_from_json, config_to_json
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.methods.dekr import DEKR, DEKRInference
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.hrnet import W48
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.rescoring import COCO_RESCORING
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.runtime import make_mesh, replicated, split_by_image
from pinet_jax.skeletons import CROWDPOSE_14
from pinet_jax.training import (
    Training,
    TrainingConfig,
    compile_train_step,
    compute_losses,
    for_tpus,
)
from tests.tiny import MICRO, batch, lively_variables

FINEST = dataclasses.replace(MICRO, concatenated=False)
VALUES = {
    "spm": PINet(partition="center", backbone=MICRO, refinement=None),
    "cid": CID(backbone=MICRO),
    "higher_hrnet": HigherHRNet(backbone=FINEST, blocks=1),
    "ae": HigherHRNet(backbone=FINEST, doublings=0),
    "dekr": DEKR(backbone=MICRO, offset_channels=3, rescoring=COCO_RESCORING),
}
TESTS = {
    "spm": PINetInference(input_size=64, fusion=False),
    "cid": CIDInference(input_size=64, oks_threshold=0.7),
    "higher_hrnet": HigherHRNetInference(input_size=64, scales=(1.0, 0.5)),
    "ae": HigherHRNetInference(input_size=64, poses=20),
    "dekr": DEKRInference(input_size=64, scales=(1.0, 2.0), fusion=True),
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
def test_a_network_in_blocks_has_the_same_variables(name):
    network = VALUES[name].network(Compute(train=True))
    image = np.zeros((2, 64, 64, 3), np.float32)
    other = for_tpus(network, make_mesh(jax.devices()[:2]))
    made = [jax.eval_shape(n.init, jax.random.key(0), image) for n in (network, other)]
    assert jax.tree.map(jnp.shape, made[0]) == jax.tree.map(jnp.shape, made[1])


@each
def test_its_losses_fall(name):
    """On eight devices, between which no image, map or feature goes."""
    config = TrainingConfig(batch_size=8, optimizer=OptimizerConfig(learning_rate=3e-3))
    training = Training.make(VALUES[name], config, steps_per_epoch=10)
    mesh = make_mesh()
    state = training.init_state(init_variables(VALUES[name]))
    state = jax.device_put(state, replicated(mesh), may_alias=False)
    step, losses = compile_train_step(training, mesh).lower(state, batch(8)).compile(), []
    for exchange in ("all-gather", "all-to-all", "collective-permute"):
        assert f"{exchange}(" not in step.as_text() and f"{exchange}-start(" not in step.as_text()
    data = jax.device_put(batch(8), split_by_image(mesh))
    for _ in range(24):  # CID's heads begin small: people's own maps wait for the others
        state, metrics = step(state, data)
        losses.append(float(metrics["loss"]))
    assert np.isfinite(losses).all() and losses[-1] < 0.8 * losses[0]


@each
def test_a_batch_may_have_more_entries_than_an_int32_counts(name):
    """Traced alone: 2 ** 21 images are as many entries as thousands of larger ones on a pod."""
    training = Training.make(VALUES[name], TrainingConfig(batch_size=8), steps_per_epoch=10)
    one, variables = batch(1), abstract_variables(VALUES[name])
    many = {k: jax.ShapeDtypeStruct((2**21, *x.shape[1:]), x.dtype) for k, x in one.items()}
    parts = variables["params"], variables.get("batch_stats", {})
    losses = functools.partial(compute_losses, training)
    total, _ = jax.eval_shape(losses, *parts, many, jax.random.key(0))
    assert total.shape == ()


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


@pytest.mark.parametrize(
    ("method", "parameters", "multiply_adds"),
    [
        (PINet(partition="center", refinement=None), 29_330_548, 41.638),
        (PINet(CROWDPOSE_14, "center", refinement=None), 29_326_219, 41.567),
        (CID(), 29_363_087, 42.934),
        (CID(CROWDPOSE_14), 29_361_545, 42.863),
        (CID(backbone=W48), 65_447_487, 88.205),
        (CID(CROWDPOSE_14, W48), 65_445_177, 88.099),
    ],
    ids=["spm", "spm_14", "cid", "cid_14", "cid_w48", "cid_w48_14"],
)
def test_it_is_as_large_as_the_released_code(method, parameters, multiply_adds):
    """Multiply-adds, by layer, of one image of 512 x 512 pixels and 30 people; billions."""
    params = abstract_variables(method)["params"]
    assert sum(math.prod(x.shape) for x in jax.tree.leaves(params)) == parameters
    folded = abstract_variables(method, folded=True)
    network = method.network(Compute(folded=True))
    products = sum(
        count_layers(nn.apply(module.run, network), folded, *module.inputs)[0]
        for module in method.modules((512, 512)).values()
    )
    assert products / 1e9 == pytest.approx(multiply_adds, abs=6e-4)


def test_every_method_that_needs_no_boxes_is_tested_here():
    """The others are in `test_simple_baseline` and `test_top_down_training`."""
    without = {method for method in METHODS if not method.needs_boxes}
    assert {type(method) for method in VALUES.values()} == without
