"""Focal and contrastive losses: the reference's values and gradients, and cases by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.instance_losses import FocalSums, contrastive_loss, focal_sums
from pinet_jax.networks.cid import probability
from tests.conftest import golden

FIGURES = "baselines/cid/losses.npz"


def assert_same_gradient(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("case", range(4))
def test_focal_loss_is_the_references(case):
    figures = golden(FIGURES)
    target = figures[f"focal{case}_gt"].astype(np.float64)
    mask = figures.get(f"focal{case}_mask", np.ones((1, 1, 1, 1))).astype(np.float64)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):

        def loss(logits):
            return focal_sums(probability(logits), jnp.asarray(target), jnp.asarray(mask)).mean()

        value, gradient = jax.value_and_grad(loss)(jnp.asarray(figures[f"focal{case}_logits"]))
    np.testing.assert_allclose(value, figures[f"focal{case}_loss"], rtol=1e-6)
    assert_same_gradient(gradient, figures[f"focal{case}_grad_logits"])


@pytest.mark.parametrize("case", range(3))
def test_contrastive_loss_is_the_references(case):
    """With padding, and beside an image without anybody, neither of which counts."""
    figures = golden(FIGURES)
    vectors = figures[f"contrastive{case}_features"]
    count = len(vectors)
    padded = np.zeros((2, 8, vectors.shape[1]))
    padded[0, :count], padded[0, count:] = vectors, 1.0
    mask = np.arange(8)[None] < np.array([[count], [0]])
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        answer = jax.value_and_grad(contrastive_loss)(jnp.asarray(padded), mask)
    value, gradient = jax.device_get(answer)
    # The reference's figure is the sum over people, ours their mean.
    np.testing.assert_allclose(value * count, figures[f"contrastive{case}_loss"], atol=1e-12)
    expected = figures[f"contrastive{case}_grad"]
    np.testing.assert_allclose(gradient[0, :count] * count, expected, rtol=0, atol=1e-12)
    assert not gradient[0, count:].any() and not gradient[1].any()


def test_a_batch_without_people_has_no_loss_and_no_gradient():
    value, gradient = jax.value_and_grad(contrastive_loss)(
        jnp.zeros((2, 3, 4)), np.zeros((2, 3), bool)
    )
    assert value == 0 and not gradient.any()


def test_people_are_told_apart_within_their_image_alone():
    """Equal vectors cost ln 2 each in one image, nothing in two."""
    vectors = jnp.ones((2, 2, 4))
    together = contrastive_loss(vectors, np.array([[True, True], [False, False]]))
    apart = contrastive_loss(vectors, np.array([[True, False], [True, False]]))
    np.testing.assert_allclose([together, apart], [np.log(2), 0], atol=1e-6)


def test_focal_loss_by_hand():
    probability = jnp.asarray([[0.5, 0.25], [0.5, 0.5]])
    target = jnp.asarray([[1.0, 1.0], [0.0, 0.5]])
    peaks = 0.5**2 * np.log(2) + 0.75**2 * np.log(4)
    rest = 0.5**2 * np.log(2) + 0.5**4 * 0.5**2 * np.log(2)
    sums = focal_sums(probability, target, jnp.ones((1, 1)))
    np.testing.assert_allclose(sums.mean(), (peaks + rest) / 2, rtol=1e-6)
    # Without a peak the sum is not divided; an entry that does not count is none.
    sums = focal_sums(probability, target, jnp.asarray([[0.0], [1.0]]))
    assert sums.peaks == 0
    np.testing.assert_allclose(sums.mean(), rest, rtol=1e-6)


def test_sums_of_parts_add_up_to_the_whole():
    rng = np.random.default_rng(0)
    p = jnp.asarray(rng.uniform(0.1, 0.9, (4, 5)), jnp.float32)
    target = jnp.asarray(rng.choice([0, 0.5, 1], (4, 5)), jnp.float32)
    mask = jnp.asarray(rng.integers(0, 2, (4, 1)), jnp.float32)
    whole = focal_sums(p, target, mask)
    rows = [focal_sums(*(x[i : i + 1] for x in (p, target, mask))) for i in range(4)]
    added = FocalSums(sum(r.loss for r in rows), sum(r.peaks for r in rows))
    np.testing.assert_allclose(added.mean(), whole.mean(), rtol=1e-6)
