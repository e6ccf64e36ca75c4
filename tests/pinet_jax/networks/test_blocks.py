"""Maps as blocks of positions: every layer gives what it gives without them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.networks.blocks import best_block, convolve_blocks, from_blocks, to_blocks
from pinet_jax.networks.layers import BatchNorm, BatchNormConfig, upsample_nearest

RNG = np.random.default_rng(0)


def normal(*shape):
    return jnp.asarray(RNG.normal(size=shape), jnp.float32)


@pytest.mark.parametrize(
    ("channels", "block"), [(3, (2, 2)), (32, (2, 2)), (48, (1, 2)), (64, (1, 2)), (65, (1, 1))]
)
def test_blocks_fill_the_lanes_and_divide_the_map(channels, block):
    assert best_block(channels, 6, 8) == block
    assert best_block(channels, 5, 7) == (1, 1)


@pytest.mark.parametrize(
    ("before", "block", "after", "size", "stride"),
    [
        (3, (4, 4), 64, 3, 2),  # of an image
        (64, (1, 2), 256, 1, 1),  # into more channels than lanes, without leaving the blocks
        (256, (1, 2), 32, 3, 1),
        (32, (2, 2), 32, 3, 1),
        (32, (2, 2), 64, 3, 2),
        (32, (2, 2), 128, 3, 2),
        (128, (1, 1), 256, 3, 2),
    ],
)
def test_a_convolution_is_the_usual_one(before, block, after, size, stride):
    x, kernel = normal(2, 8, 12, before), normal(size, size, before, after)
    expected = jax.lax.conv_general_dilated(
        x,
        kernel,
        (stride, stride),
        [(size // 2, size // 2)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )
    found = convolve_blocks(to_blocks(x, block), kernel, stride)
    assert found.shape == expected.shape
    np.testing.assert_allclose(from_blocks(found), expected, atol=2e-4)


@pytest.mark.parametrize("factor", [2, 4])
def test_positions_are_repeated(factor):
    x = normal(2, 4, 6, 32)
    found = upsample_nearest(to_blocks(x, (2, 2)), factor)
    assert found.block == (2, 2)
    np.testing.assert_array_equal(from_blocks(found), x.repeat(factor, 1).repeat(factor, 2))


def test_maps_in_other_blocks_are_added():
    x, y = normal(2, 4, 6, 3), normal(2, 4, 6, 3)
    found = to_blocks(x, (2, 2)) + to_blocks(y, (1, 2))
    assert found.block == (2, 2)
    np.testing.assert_array_equal(from_blocks(found), x + y)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("group_size", [None, 2])
def test_statistics_are_those_of_positions(train, group_size):
    x = normal(4, 4, 6, 3) + jnp.arange(3.0)[None, None, None]
    layer = BatchNorm(train, BatchNormConfig(group_size))
    variables = {
        "params": {"scale": jnp.full(3, 1.5), "bias": jnp.full(3, 0.5)},
        "batch_stats": {"mean": jnp.full(3, 0.1), "var": jnp.full(3, 2.0)},
    }
    found, new = layer.apply(variables, to_blocks(x, (2, 2)), mutable=["batch_stats"])
    groups = np.asarray(x).reshape(-1, group_size or 4, 4, 6, 3)
    mean, var = groups.mean((1, 2, 3)), groups.var((1, 2, 3))
    if train:
        held = new["batch_stats"]["var"]
        np.testing.assert_allclose(held, 0.9 * 2 + 0.1 * var.mean(0), rtol=1e-5)
    else:
        mean, var = np.full_like(mean, 0.1), np.full_like(var, 2.0)
    mean, var = mean[:, None, None, None], var[:, None, None, None]
    expected = (groups - mean) / np.sqrt(var + 1e-5) * 1.5 + 0.5
    np.testing.assert_allclose(from_blocks(found), expected.reshape(x.shape), atol=1e-5)
