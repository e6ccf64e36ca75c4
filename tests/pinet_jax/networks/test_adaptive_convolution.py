"""The adaptive convolution against a slow readable twin, and at some positions against all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from pinet_jax.networks.adaptive_convolution import (
    TAPS,
    AdaptiveBlock,
    TapWeights,
    adaptive_convolution,
    read_maps,
    sample_maps,
)
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import make_mesh, replicated, split_by_image

G, B, H, W, C, D = 2, 2, 5, 6, 3, 4


def slow_value(image, y, x):
    """Bilinear; every neighbour outside of the map is 0."""
    total = np.zeros(image.shape[-1])
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < image.shape[0] and 0 <= column < image.shape[1]:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[row, column]
    return total


def slow_convolution(x, weights):
    out = np.zeros((G, B, H, W, D))
    for g, b, row, column in np.ndindex(G, B, H, W):
        affine = weights.affine_bias[g].copy()
        for dy, dx in TAPS:
            if 0 <= row + dy < H and 0 <= column + dx < W:
                kernel = weights.affine_kernel[g, dy + 1, dx + 1]
                affine += x[g, b, row + dy, column + dx] @ kernel
        matrix, translation = affine[:4].reshape(2, 2), affine[4:]
        for tap, step in enumerate(TAPS):
            y, across = np.array([row, column]) + matrix @ step + translation
            value = slow_value(x[g, b], y, across)
            out[g, b, row, column] += value @ weights.kernel[g, tap * C : (tap + 1) * C]
    return out


def drawn(dtype, reach=1.0):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(G, B, H, W, C)).astype(dtype)
    weights = TapWeights(
        (reach * 0.3 * rng.normal(size=(G, 3, 3, C, 6))).astype(dtype),
        (reach * rng.normal(size=(G, 6))).astype(dtype),
        rng.normal(size=(G, 9 * C, D)).astype(dtype),
    )
    return x, weights


@pytest.mark.parametrize("reach", [0.0, 1.0, 50.0])
def test_equals_a_slow_twin(reach):
    x, weights = drawn(np.float32, reach)
    expected = slow_convolution(x, jax.tree.map(lambda a: a.astype(np.float64), weights))
    actual = jax.jit(adaptive_convolution)(x, weights)
    # Far taps make a float32 position's rounding show.
    np.testing.assert_allclose(actual, expected, atol=2e-5 * max(reach, 1))


def test_without_matrix_and_translation_all_taps_read_their_position():
    x, weights = drawn(np.float32, reach=0)
    actual = adaptive_convolution(x, weights)
    kernel = weights.kernel.reshape(G, 9, C, D).sum(axis=1)
    np.testing.assert_allclose(actual, np.einsum("gbhwc,gcd->gbhwd", x, kernel), atol=1e-5)


def test_gradients_are_differences():
    with jax.enable_x64(True):
        x, weights = jax.tree.map(jnp.asarray, drawn(np.float64))
        check_grads(jax.jit(adaptive_convolution), (x, weights), order=1, modes=["rev"], eps=1e-6)


def test_reading_far_outside_or_nowhere_is_harmless():
    maps = np.ones((1, 4, 4, 2), np.float32)
    yx = np.array([[[-1, 0], [4, 0], [0, 1e30], [-1e30, 2], [1.5, 2.5], [-0.25, 3.5]]], np.float32)
    found = np.asarray(sample_maps(jnp.asarray(maps), jnp.asarray(yx)))[0, :, 0]
    np.testing.assert_allclose(found, [0, 0, 0, 0, 1, 0.375], atol=1e-6)
    nowhere = np.full((1, 1, 2), np.nan, np.float32)
    assert np.isnan(sample_maps(jnp.asarray(maps), jnp.asarray(nowhere))).all()


@functools.cache
def lively_block():
    """A block whose variables, normalisation among them, are all random."""
    block = AdaptiveBlock(G, C, Compute())
    x = jnp.zeros((1, H, W, G * C))
    rng = np.random.default_rng(1)
    variables = jax.tree.map(
        lambda a: rng.uniform(0.2, 1, a.shape).astype(np.float32),
        dict(block.init(jax.random.key(0), x)),
    )
    return variables, rng.normal(size=(B, H, W, G * C)).astype(np.float32)


def test_a_folded_block_is_the_same_at_single_positions_as_everywhere():
    variables, x = lively_block()
    whole = AdaptiveBlock(G, C, Compute()).apply(variables, x)
    folded, weights = AdaptiveBlock(G, C, Compute(folded=True)), fold_batch_norm(variables)
    np.testing.assert_allclose(folded.apply(weights, x), whole, rtol=1e-4, atol=1e-4)
    grouped = np.moveaxis(x.reshape(B, H, W, G, C), 3, 1)
    yx = np.array([[0, 0], [H - 1, W - 1], [2, 3], [0, 4]], np.int32)
    yx = np.broadcast_to(yx, (B, G, 4, 2))

    def at(net, maps, yx):
        return net.at(read_maps(maps), yx)

    single = folded.apply(weights, grouped, jnp.asarray(yx), method=at)  # [B, G, M, C]
    everywhere = np.asarray(whole).reshape(B, H, W, G, C)
    for number, (row, column) in enumerate(yx[0, 0]):
        np.testing.assert_allclose(
            single[:, :, number], everywhere[:, row, column], rtol=1e-4, atol=1e-4
        )


def test_a_block_begins_as_it_does_in_the_released_code():
    variables = AdaptiveBlock(G, C, Compute()).init(jax.random.key(0), jnp.zeros((1, H, W, G * C)))
    params = variables["params"]
    for layer in ("transform_matrix_conv", "translation_conv"):
        assert not any(np.asarray(leaf).any() for leaf in params[layer].values())
    bound = (9 * C) ** -0.5
    kernel = np.abs(params["conv"]["kernel"])
    assert 0.9 * bound < kernel.max() < bound


def test_a_batch_on_several_devices_is_read_where_it_lies():
    """Only sums of gradients go from one device to another."""
    block = AdaptiveBlock(G, C, Compute())
    mesh = make_mesh(jax.devices()[:2])
    variables, _ = lively_block()

    def loss(variables, x):
        return (block.apply(variables, x) ** 2).sum()

    program = jax.jit(
        jax.grad(loss, argnums=(0, 1)),
        in_shardings=(replicated(mesh), split_by_image(mesh)),
        out_shardings=(replicated(mesh), split_by_image(mesh)),
    )
    shape = jax.ShapeDtypeStruct((B, H, W, G * C), jnp.float32)
    compiled = program.lower(variables, shape).compile().as_text()
    for collective in ("all-gather", "all-to-all", "collective-permute"):
        assert collective not in compiled
