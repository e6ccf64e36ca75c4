"""Depthwise convolution against XLA's own grouped one."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.networks.depthwise import DepthwiseConv, depthwise_convolution


def _grouped(x, kernel, stride):
    return jax.lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        "SAME",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=x.shape[-1],
    )


def _arrays(height, width, size):
    rng = np.random.default_rng(height * width + size)
    x = rng.normal(size=(2, height, width, 6)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.normal(size=(size, size, 6)).astype(np.float32))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(("height", "width", "size"), [(8, 10, 3), (9, 7, 3), (16, 12, 5)])
def test_result_and_gradients_are_those_of_a_grouped_convolution(height, width, size, stride):
    def total(convolution, x, kernel):
        return jnp.sin(convolution(x, kernel, stride)).sum()

    @jax.jit
    def both(x, kernel):
        return [
            (f(x, kernel, stride), *jax.grad(functools.partial(total, f), (0, 1))(x, kernel))
            for f in (depthwise_convolution, _grouped)
        ]

    ours, expected = both(*_arrays(height, width, size))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-5)


def test_the_kernels_gradient_of_many_positions_is_their_sum():
    x, kernel = jnp.ones((4, 64, 64, 3)), jnp.zeros((3, 3, 3))
    gradient = jax.jit(jax.grad(lambda k: depthwise_convolution(x, k, 1).sum()))(kernel)
    # The middle tap meets every position, a corner's all but one row and one column.
    np.testing.assert_array_equal(gradient[1, 1], 4 * 64 * 64)
    np.testing.assert_array_equal(gradient[0, 2], 4 * 63 * 63)


def test_half_precision_is_summed_in_float32():
    x, kernel = _arrays(8, 8, 5)
    x, kernel = x.astype(jnp.bfloat16), kernel.astype(jnp.bfloat16)
    exact = _grouped(x.astype(jnp.float32), kernel.astype(jnp.float32), 1)
    out = depthwise_convolution(x, kernel, 1)
    assert out.dtype == jnp.bfloat16
    np.testing.assert_array_equal(out, exact.astype(jnp.bfloat16))


def test_a_kernel_begins_by_its_own_fan_in():
    variables = DepthwiseConv(5).init(jax.random.key(0), jnp.zeros((1, 8, 8, 2048)))
    kernel = variables["params"]["kernel"]
    assert kernel.shape == (5, 5, 1, 2048)
    np.testing.assert_allclose(np.std(kernel), np.sqrt(2 / 25), rtol=0.02)
