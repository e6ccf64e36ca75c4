"""Targets and losses of associative embedding against the released code's figures."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.tagging import heatmap_loss, positions_on_map, render_heatmaps, tag_losses
from tests.conftest import golden

TARGETS = "baselines/higherhrnet/targets_coco.npz"


def channels_last(maps):
    return jnp.asarray(np.moveaxis(maps, -3, -1))


def packed(keypoints, size):
    """The released tensor: k * R^2 + y * R + x, and 1; a person's visible ones first."""
    yx, mask = jax.device_get(positions_on_map(jnp.asarray(keypoints), size))
    table = np.zeros((30, keypoints.shape[1], 2), np.int32)
    for person in range(len(keypoints)):
        (labelled,) = np.nonzero(mask[person])
        y, x = yx[person, labelled].T
        table[person, : len(labelled), 0] = labelled * size**2 + y * size + x
        table[person, : len(labelled), 1] = 1
    return table


@pytest.mark.parametrize("size", [64, 128])
@pytest.mark.parametrize("case", range(5))
def test_targets_are_the_references(case, size):
    figures = golden(TARGETS)
    keypoints = figures[f"case{case}_joints{size}"].astype(np.float32)
    heatmap = render_heatmaps(jnp.asarray(keypoints), size)
    expected = channels_last(figures[f"case{case}_heatmap{size}"])
    np.testing.assert_allclose(heatmap, expected, rtol=0, atol=1e-5)
    index = figures[f"case{case}_joint_index{size}"]
    np.testing.assert_array_equal(packed(keypoints, size), index)


def higher_losses(outputs, figures, keypoints):
    """All of them, batch means with their factors."""
    coarse, fine = outputs
    heatmap, tags = jnp.split(coarse, 2, axis=-1)
    push, pull = jax.vmap(tag_losses)(tags, keypoints)
    losses = [
        heatmap_loss(heatmap, channels_last(figures["heatmap0"]), figures["mask0"]),
        heatmap_loss(fine, channels_last(figures["heatmap1"]), figures["mask1"]),
        1e-3 * push.mean(),
        1e-3 * pull.mean(),
    ]
    return sum(losses), losses


def test_losses_and_gradients_are_the_references():
    figures = golden("baselines/higherhrnet/losses_coco.npz")
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        outputs = [channels_last(figures[f"output{i}"]) for i in range(2)]
        loss = jax.value_and_grad(higher_losses, has_aux=True)
        (_, losses), gradients = loss(outputs, figures, jnp.asarray(figures["joints"]))
    expected = [figures[f"{name}_per_image"].mean() for name in ("heat0", "heat1", "push", "pull")]
    np.testing.assert_allclose(losses, expected, rtol=1e-6)
    ours = np.moveaxis(gradients[0], -1, 1), np.moveaxis(gradients[1], -1, 1)[:, :, ::2, ::2]
    for actual, name in zip(ours, ("grad_output0", "grad_output1_sub"), strict=True):
        np.testing.assert_allclose(actual, figures[name], rtol=1e-5, atol=1e-12)


def test_targets_of_the_losses_are_the_references():
    figures = golden("baselines/higherhrnet/losses_coco.npz")
    for factor, size, name in ((1, 8, "heatmap0"), (2, 16, "heatmap1")):
        points = jnp.asarray(figures["joints"] * [factor, factor, 1], jnp.float32)
        heatmap = jax.vmap(lambda image, size=size: render_heatmaps(image, size))(points)
        np.testing.assert_allclose(heatmap, channels_last(figures[name]), rtol=0, atol=1e-5)


def test_tags_losses_and_gradients_are_the_references_of_ae():
    figures = golden("baselines/ae/ae_loss_coco.npz")

    def total(tags):
        push, pull = jax.vmap(tag_losses)(tags, jnp.asarray(figures["joints"]))
        return 1e-3 * (push.sum() + pull.sum()), (push, pull)

    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        tags = channels_last(figures["tags_nkhw_f64"])
        (_, losses), gradient = jax.value_and_grad(total, has_aux=True)(tags)
    for actual, name in zip(losses, ("push_f64", "pull_f64"), strict=True):
        np.testing.assert_allclose(actual, figures[name], rtol=1e-6)
    expected = figures["grad_of_1e3_weighted_sum_f64"]
    np.testing.assert_allclose(np.moveaxis(gradient, -1, 1), expected, rtol=1e-5, atol=1e-14)


def test_two_people_by_hand():
    tags = jnp.zeros((4, 4, 2)).at[0, 0, 0].set(1).at[1, 1, 1].set(3).at[2, 2, 0].set(2)
    keypoints = jnp.asarray(
        [
            [[0.9, 0.2, 2], [1.5, 1.5, 1]],  # tags 1 and 3
            [[2, 2, 1], [9, 9, 2]],  # tag 2 alone: the other keypoint is off the map
            [[1, 1, 0], [2, 2, 0]],  # nothing labelled
        ]
    )
    push, pull = tag_losses(tags, keypoints)
    assert float(pull) == pytest.approx((1 + 0) / 2)
    assert float(push) == pytest.approx(0.5)  # both means are 2


def test_one_person_pushes_nobody_and_none_has_no_loss():
    tags = jnp.arange(32.0).reshape(4, 4, 2)
    one = jnp.asarray([[[0, 0, 1], [1, 1, 1]], [[0, 0, 0], [0, 0, 0]]])
    push, pull = tag_losses(tags, one)
    assert float(push) == 0 and float(pull) > 0
    gradient = jax.grad(lambda tags: sum(tag_losses(tags, one * 0)))(tags)
    assert not gradient.any()
