import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.networks.layers import BatchNorm, BatchNormConfig

RNG = np.random.default_rng(0)
X = RNG.normal(1, 2, (4, 3, 5, 6)).astype(np.float32)


def norm(x, config=BatchNormConfig(), mask=None, train=True):
    layer = BatchNorm(train, config)
    variables = {
        "params": {"scale": jnp.full(6, 1.5), "bias": jnp.full(6, 0.5)},
        "batch_stats": {"mean": jnp.full(6, 0.1), "var": jnp.full(6, 2.0)},
    }
    y, new = layer.apply(variables, x, mask, mutable=["batch_stats"])
    return np.asarray(y), {k: np.asarray(v) for k, v in new["batch_stats"].items()}


def by_hand(x):
    mean, var = x.mean(axis=(0, 1, 2)), x.var(axis=(0, 1, 2))
    return (x - mean) / np.sqrt(var + 1e-5) * 1.5 + 0.5, mean, var


def test_normalises_and_moves_the_running_statistics():
    expected, mean, var = by_hand(X)
    y, held = norm(X)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(held["mean"], 0.9 * 0.1 + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(held["var"], 0.9 * 2 + 0.1 * var, rtol=1e-5)


def test_equals_torch():
    torch = pytest.importorskip("torch")
    layer = torch.nn.BatchNorm2d(6)
    with torch.no_grad():
        layer.weight.fill_(1.5)
        layer.bias.fill_(0.5)
        layer.running_mean.fill_(0.1)
        layer.running_var.fill_(2.0)
        expected = layer(torch.tensor(X).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    y, held = norm(X, BatchNormConfig(unbiased_running_variance=True))
    np.testing.assert_allclose(y, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(held["mean"], layer.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(held["var"], layer.running_var.numpy(), rtol=1e-5)


def test_groups_are_batches_of_their_own():
    y, held = norm(X, BatchNormConfig(group_size=2))
    halves = [norm(X[:2]), norm(X[2:])]
    np.testing.assert_allclose(y, np.concatenate([half[0] for half in halves]), atol=1e-6)
    for name in held:
        mean = (halves[0][1][name] + halves[1][1][name]) / 2
        np.testing.assert_allclose(held[name], mean, rtol=1e-5)


@pytest.mark.parametrize("config", [BatchNormConfig(), BatchNormConfig(2, True)])
def test_masked_rows_count_for_nothing(config):
    mask = RNG.random((4, 3, 1, 1)) < 0.6
    poisoned = np.where(mask, X, 1e6).astype(np.float32)
    y, held = norm(X, config, mask)
    y_poisoned, held_poisoned = norm(poisoned, config, mask)
    keep = np.broadcast_to(mask, X.shape)
    np.testing.assert_array_equal(y[keep], y_poisoned[keep])
    for name in held:
        np.testing.assert_array_equal(held[name], held_poisoned[name])
    if config.group_size is None:
        kept = X[mask[..., 0, 0]].reshape(1, -1, 5, 6)
        np.testing.assert_allclose(y[mask[..., 0, 0]], norm(kept)[0][0], atol=1e-5)
        np.testing.assert_allclose(held["var"], norm(kept)[1]["var"], rtol=1e-5)


def test_with_everything_masked_the_running_statistics_stay():
    y, held = norm(X, mask=np.zeros((4, 3, 1, 1), bool))
    np.testing.assert_allclose(held["mean"], 0.1)
    np.testing.assert_allclose(held["var"], 2.0)
    assert np.isfinite(y).all()


def test_half_precision_keeps_float32_statistics():
    far = (X + 300).astype(jnp.bfloat16)  # bfloat16 would lose the variance wholly
    y, held = norm(far)
    assert y.dtype == jnp.bfloat16 and held["var"].dtype == np.float32
    expected = np.asarray(far, np.float32).var(axis=(0, 1, 2))
    np.testing.assert_allclose(held["var"], 1.8 + 0.1 * expected, rtol=0.02)


def test_gradient_agrees_with_differences():
    weights = RNG.normal(size=X.shape).astype(np.float64)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        x = jnp.asarray(X, jnp.float64)

        def loss(x):
            layer = BatchNorm(True, BatchNormConfig(2))
            variables = {
                "params": {"scale": jnp.full(6, 1.5), "bias": jnp.full(6, 0.5)},
                "batch_stats": {"mean": jnp.zeros(6), "var": jnp.ones(6)},
            }
            y, _ = layer.apply(variables, x, mutable=["batch_stats"])
            return (y * weights).sum()

        direction = jnp.asarray(RNG.normal(size=X.shape))
        slope = (jax.grad(loss)(x) * direction).sum()
        step = 1e-6
        difference = (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)
    np.testing.assert_allclose(slope, difference, rtol=1e-6)
