import dataclasses

import jax
import numpy as np
import optax
import pytest
from flax import linen as nn

from pinet_jax.errors import InputError
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.networks import initializers
from pinet_jax.networks.layers import BatchNormConfig
from pinet_jax.runtime import make_mesh, replicated, split_by_image
from pinet_jax.training import (
    OptimizerConfig,
    Training,
    TrainingConfig,
    check_batch_size,
    compile_train_step,
    learning_rate,
    make_optimizer,
)
from tests.tiny import MODEL, batch

CONFIG = TrainingConfig(batch_size=8)


class Tiny:
    """As much of a method as training asks for."""

    output_layers = ()

    def __init__(self, batch_arrays=("image",)):
        self.batch_arrays = batch_arrays

    def network(self, compute=None):
        del compute
        rule = {"kernel_init": initializers.normal(1), "bias_init": initializers.zeros}
        return nn.Dense(2, **rule)

    def losses(self, net, batch):
        noise = jax.random.uniform(net.make_rng("sample"))
        return {"square": (net(batch["image"].astype(np.float32)) ** 2).mean(), "random": noise}


def compiled(config, devices, model=MODEL):
    """The step's program, the first state, and where both belong."""
    training = Training.make(model, config, steps_per_epoch=10)
    mesh = make_mesh(jax.devices()[:devices])
    state = training.init_state(init_variables(model))
    program = compile_train_step(training, mesh).lower(state, batch(config.batch_size)).compile()
    return program, jax.device_get(state), mesh


def run(program, state, mesh, *, data=None, count=2):
    """The state after some steps, and the metrics of each."""
    state = jax.device_put(state, replicated(mesh), may_alias=False)  # a step donates it
    data = jax.device_put(data or batch(8), split_by_image(mesh))
    curve = []
    for _ in range(count):
        state, metrics = program(state, data)
        curve.append(jax.device_get(metrics))
    return jax.device_get(state), curve


@pytest.fixture(scope="module")
def on_one():
    return compiled(CONFIG, 1)


@pytest.fixture(scope="module")
def alone(on_one):
    """On one device."""
    return run(*on_one)


@pytest.fixture(scope="module")
def on_eight():
    return compiled(CONFIG, 8)


def assert_close(ours, expected, rtol=1e-4, atol=1e-5):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=rtol, atol=atol), ours, expected
    )


def test_eight_devices_equal_one(on_eight, alone):
    state, curve = run(*on_eight)
    assert_close(curve, alone[1], rtol=2e-4)
    # Adam's first steps follow the gradients' signs, which rounding decides where one is zero:
    # steps of the rate's size, 0.001.
    difference = jax.tree.leaves(jax.tree.map(lambda a, b: a - b, state.params, alone[0].params))
    flat = np.concatenate([np.ravel(x) for x in difference])
    assert np.abs(flat).max() < 5e-3 and np.abs(flat).mean() < 1e-5
    assert_close(state.batch_stats, alone[0].batch_stats, rtol=1e-3, atol=1e-4)


def test_every_device_keeps_its_images_to_itself(on_eight):
    """Between devices go gradients and statistics, never images or maps."""
    program = on_eight[0].as_text()
    assert "all-reduce" in program
    for exchange in ("all-gather", "all-to-all", "collective-permute"):
        assert f"{exchange}(" not in program and f"{exchange}-start(" not in program


def test_rematerialisation_changes_nothing(alone):
    _, curve = run(*compiled(dataclasses.replace(CONFIG, remat=True), 1))
    assert_close(curve, alone[1], rtol=1e-3)


def test_accumulation_is_the_mean_of_the_shares(on_one):
    data = batch(16)
    accumulating = dataclasses.replace(CONFIG, batch_size=16, accumulate=2)
    state, (metrics,) = run(*compiled(accumulating, 1), data=data, count=1)

    program, start, mesh = on_one
    total, losses = None, []
    for share in ({k: v[i::2] for k, v in data.items()} for i in range(2)):
        after, (single,) = run(program, start, mesh, data=share, count=1)
        start = start._replace(batch_stats=after.batch_stats)
        losses.append(single["loss"])
        gradients = jax.tree.map(lambda mu: 10 * mu, after.opt_state[0].mu)  # Adam's first mean
        total = gradients if total is None else jax.tree.map(np.add, total, gradients)
    norm = float(optax.tree.norm(total)) / 2
    np.testing.assert_allclose(metrics["loss"], np.mean(losses), rtol=1e-5)
    np.testing.assert_allclose(metrics["gradient_norm"], norm, rtol=1e-4)
    assert_close(state.batch_stats, start.batch_stats)


def test_clipping_average_and_half_precision():
    config = TrainingConfig(
        batch_size=8,
        optimizer=OptimizerConfig(gradient_clip=1e-3),
        ema_decay=0.5,
        bfloat16=True,
    )
    state, curve = run(*compiled(config, 1), count=1)
    assert np.isfinite(curve[0]["loss"]) and curve[0]["gradient_norm"] > 1e-3
    clipped = float(optax.tree.norm(state.opt_state[1][0].mu)) * 10
    np.testing.assert_allclose(clipped, 1e-3, rtol=1e-3)
    start = init_variables(MODEL)
    # The first step's share of the average is 1 - (1 + 0) / (10 + 0).
    expected = jax.tree.map(lambda a, b: a + 0.9 * (b - a), start["params"], state.params)
    assert_close(state.average["params"], expected)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves((state.params, state.batch_stats)))
    joined = type(state).from_checkpoint(state.test_variables, state.training_variables)
    jax.tree.map(np.testing.assert_array_equal, joined, state)


def test_a_network_without_batch_statistics_trains(alone):
    """And a loss that draws random numbers has others in every step."""
    state, curve = run(*compiled(CONFIG, 1, Tiny()), count=2)
    assert state.batch_stats == {}
    assert curve[0]["random"] != curve[1]["random"]
    again = type(state).from_checkpoint(state.test_variables, state.training_variables)
    jax.tree.map(np.testing.assert_array_equal, again, state)


def test_what_the_data_lack_is_named():
    with pytest.raises(InputError, match="the data give no boxes, which the method is trained on"):
        compiled(CONFIG, 1, Tiny(batch_arrays=("image", "boxes")))


def test_a_step_for_an_accelerator_has_no_barriers_of_a_cpu():
    """The step of the smallest network, lowered here for others."""
    training = Training.make(MODEL, CONFIG, steps_per_epoch=10)
    shapes = jax.eval_shape(training.init_state, abstract_variables(MODEL))
    step = compile_train_step(training, make_mesh(jax.devices()[:1])).trace(shapes, batch(8))
    barriers = {
        platform: step.lower(lowering_platforms=(platform,)).as_text().count("barrier")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert barriers["cpu"] > 50
    assert barriers["cuda"] == barriers["tpu"] == 0


def test_no_refinement_no_refinement_loss():
    model = dataclasses.replace(MODEL, refinement=None, partition="center")
    _, (metrics,) = run(*compiled(CONFIG, 1, model), count=1)
    assert "refinement" not in metrics
    np.testing.assert_allclose(metrics["loss"], metrics["point"] + metrics["offset"], rtol=1e-6)


def test_learning_rate_falls_at_the_given_epochs():
    rate = learning_rate(OptimizerConfig(drops=(90, 120)), 140, steps_per_epoch=12.5)
    assert [round(float(rate(s)), 9) for s in (0, 1124, 1125, 1499, 1500, 1749)] == [
        1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5,
    ]  # fmt: skip


def test_learning_rate_warms_up_and_follows_the_cosine():
    config = OptimizerConfig(schedule="cosine", warmup_epochs=1)
    rate = learning_rate(config, 10, steps_per_epoch=10)
    assert float(rate(0)) == pytest.approx(1e-4)
    assert float(rate(50)) == pytest.approx(5e-4)
    assert float(rate(100)) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("config", "devices", "words"),
    [
        (TrainingConfig(batch_size=20), 8, "batch_size 20"),
        (TrainingConfig(batch_size=20, accumulate=3), 1, "accumulate 3"),
        (TrainingConfig(batch_size=20, batch_norm=BatchNormConfig(8)), 1, "group_size 8"),
    ],
)
def test_batches_that_cannot_be_shared_are_refused(config, devices, words):
    with pytest.raises(InputError, match=words):
        check_batch_size(config, devices)


def test_muon_moves_hidden_matrices_alike_in_all_directions_and_leaves_the_rest_to_adam():
    rng = np.random.default_rng(0)
    shapes = {
        "backbone": {"conv": {"kernel": (3, 3, 2, 6)}, "bn": {"bias": (6,)}},
        "ppg": {"offset_head": {"kernel": (1, 1, 6, 8)}},
        "pr": {"adj": (5, 5), "conv": {"weight": (6, 4)}},
    }
    params = jax.tree.map(
        lambda shape: rng.normal(size=shape).astype(np.float32),
        shapes,
        is_leaf=lambda x: isinstance(x, tuple),
    )
    gradients = jax.tree.map(lambda x: x * rng.uniform(0.1, 9, x.shape[-1:]).astype("f4"), params)
    rate = 0.01

    def first_update(optimizer):
        with jax.numpy_dtype_promotion("standard"):
            return optimizer.update(gradients, optimizer.init(params), params)[0]

    config = OptimizerConfig(method="muon")
    muon = first_update(make_optimizer(config, optax.constant_schedule(rate), ("offset_head",)))
    adam = first_update(optax.adam(rate, nesterov=True))

    def matrices(update):
        return [
            np.asarray(update["backbone"]["conv"]["kernel"]).reshape(18, 6),
            np.asarray(update["pr"]["conv"]["weight"]),
        ]

    for moved, gradient in zip(matrices(muon), matrices(gradients), strict=True):
        sizes = np.linalg.svd(moved, compute_uv=False)
        assert sizes.max() / sizes.min() < 1.8  # of the gradients: more than 5
        spread = np.linalg.svd(gradient, compute_uv=False)
        assert spread.max() / spread.min() > 3
        rows, _, columns = np.linalg.svd(gradient, full_matrices=False)
        nearest = rows @ columns
        cosine = -(moved * nearest).sum() / np.linalg.norm(moved) / np.linalg.norm(nearest)
        assert cosine > 0.97
        assert np.sqrt((moved**2).mean()) == pytest.approx(0.2 * rate, rel=0.2)
    for read in (
        lambda update: update["backbone"]["bn"]["bias"],
        lambda update: update["ppg"]["offset_head"]["kernel"],
        lambda update: update["pr"]["adj"],
    ):
        np.testing.assert_allclose(read(muon), read(adam), rtol=1e-6)
