"""What tests of other systems' golden figures share: weights made from names, and training."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from experiments.benchmarks.golden import draw_array, dtype_of, read_shapes
from pinet_jax.networks.inputs import IMAGENET_MEAN, IMAGENET_STD
from pinet_jax.networks.layers import BatchNormConfig, Compute
from pinet_jax.runtime import compiler_options
from tests.conftest import golden_path


def state_dict(file, gains=(), biases=()):
    """The arrays by the rule of the README beside the file.

    Args:
        file: names and shapes, in the golden folder.
        gains: pairs of a name and a factor.
        biases: pairs of a name and a number, which takes the place of the drawn ones.
    """
    shapes = read_shapes(golden_path(file))
    gains, biases, state = dict(gains), dict(biases), {}
    for name, shape in shapes.items():
        drawn = draw_array(name, shapes)
        array = np.full(shape, biases[name]) if name in biases else drawn * gains.get(name, 1)
        state[name] = array.astype(dtype_of(name, np.float32))
    return state


def normalized(pixels, dtype):
    """uint8 RGB as the reference fed it: divided on the host, in float32."""
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).astype(dtype)


def padded(arrays, rows, dtype):
    """Arrays of one image each, [P, ...], stacked to [B, rows, ...]."""
    stacked = np.zeros((len(arrays), rows, *arrays[0].shape[1:]), dtype)
    for row, array in zip(stacked, arrays, strict=True):
        row[: len(array)] = array
    return stacked


def loss_program(method, losses, *, train):
    """A compiled function of params and batch statistics, float64: the sum of `losses(net)`.

    Returns:
        Sum and (losses, new batch statistics), and the sum's gradient.
    """
    statistics = BatchNormConfig(unbiased_running_variance=True)
    compute = Compute(dtype=np.float64, train=train, batch_norm=statistics)
    bound = nn.apply(losses, method.network(compute), mutable=["batch_stats"])

    def total(params, batch_stats):
        found, new = bound({"params": params, "batch_stats": batch_stats})
        return sum(found.values()), (found, new["batch_stats"])

    program = jax.value_and_grad(total, has_aux=True)
    return jax.jit(program, compiler_options=compiler_options("cpu"))


def double(variables):
    return jax.tree.map(lambda x: jnp.asarray(x, np.float64), variables)


def adam_steps(program, variables):
    """Three of them at 1e-3: yields the losses, the gradients and the variables after each."""
    params, batch_stats = variables["params"], variables["batch_stats"]
    optimizer = optax.adam(1e-3)
    state = optimizer.init(params)
    for _ in range(3):
        (_, (losses, batch_stats)), gradients = program(params, batch_stats)
        updates, state = optimizer.update(gradients, state)
        params = optax.apply_updates(params, updates)
        yield losses, gradients, {"params": params, "batch_stats": batch_stats}


def assert_same_arrays(method, tree, figures, prefix, tolerance=1e-5):
    """The figures that begin so, up to a part of their largest entry."""
    ours = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(jax.device_get(tree)):
        entry = method.state_dict_entry(tuple(key.key for key in path), leaf.shape)
        ours |= dict(zip(entry.names, entry.to_torch(leaf), strict=True))
    errors = {
        key: np.abs(ours[key.removeprefix(prefix)] - figure).max() / np.abs(figure).max()
        for key, figure in figures.items()
        if key.startswith(prefix)
    }
    assert errors and max(errors.values()) < tolerance, errors


def assert_same_first_step(method, losses, variables, names, figures):
    """Losses and gradients in float64, by `frozen_f64_losses`, `..._grad:` and `..._grad_norm`.

    With the statistics held: the random network amplifies rounding less.

    Args:
        method: whose network it is.
        losses: of a bound network, for the golden batch.
        variables: float32.
        names: of the losses, in the figures' order.
        figures: arrays by name.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        weights = double(variables)
        program = loss_program(method, losses, train=False)
        (_, (found, _)), gradients = program(weights["params"], weights["batch_stats"])
        norm = float(optax.tree.norm(gradients))
        assert_same_arrays(method, {"params": gradients}, figures, "frozen_f64_grad:")
    _assert_same_losses(found, names, figures["frozen_f64_losses"][0])
    np.testing.assert_allclose(norm, figures["frozen_f64_grad_norm"], rtol=1e-6)


def assert_same_three_steps(method, losses, variables, names, figures):
    """Adam's steps in float64, by `train_f64_losses`, `train_f64_grad:` and `f64_after3:`.

    Args: as for `assert_same_first_step`.
    """
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        program = loss_program(method, losses, train=True)
        steps = list(adam_steps(program, double(variables)))
        for (found, _, _), expected in zip(steps, figures["train_f64_losses"], strict=True):
            _assert_same_losses(found, names, expected)
        first, last = {"params": steps[0][1]}, steps[-1][2]
        assert_same_arrays(method, first, figures, "train_f64_grad:")
        assert_same_arrays(method, last, figures, "f64_after3:")


def _assert_same_losses(found, names, expected):
    assert set(found) == set(names)
    np.testing.assert_allclose([float(found[name]) for name in names], expected, rtol=1e-6)
