"""Heatmaps of one person, against the released code's figures and by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.person_heatmaps import (
    STRIDE,
    HeatmapTargets,
    average_mirrored,
    heatmap_loss,
    read_keypoints,
    render_heatmaps,
)
from pinet_jax.skeletons import COCO_17
from tests.topdown import figures


@pytest.mark.parametrize(
    ("case", "sigma"), [("coco_256x192", 2.0), ("coco_384x288", 3.0), ("crowdpose_256x192", 2.0)]
)
def test_targets(case, sigma):
    golden = figures("sb_targets")
    joints, visible = golden[f"{case}_joints"], golden[f"{case}_visible"]
    keypoints = np.concatenate([joints, visible[..., None]], axis=-1).astype(np.float32)
    expected = np.moveaxis(golden[f"{case}_target"], 1, -1)
    targets = render_heatmaps(jnp.asarray(keypoints), expected.shape[1:3], sigma)
    np.testing.assert_allclose(targets.heatmap, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(targets.weight, golden[f"{case}_weight"])


def in_image(keypoints, golden):
    """The released code's way back, in its units."""
    cells = keypoints[..., :2] / STRIDE - np.array([24, 32])
    width = golden["scale"][:, :1] * 200
    return golden["center"][:, None] + cells * (width / 48)[:, None]


def golden_heatmaps():
    golden = figures("sb_decode")
    return golden, jnp.asarray(np.moveaxis(golden["heatmaps_nkhw"], 1, -1), jnp.float32)


def test_reading_maps_with_ties_borders_and_no_peak():
    golden, heatmaps = golden_heatmaps()
    keypoints = np.asarray(read_keypoints(heatmaps))
    np.testing.assert_allclose(in_image(keypoints, golden), golden["preds_image"], atol=1e-4)
    np.testing.assert_array_equal(keypoints[..., 2], golden["maxvals"])


def test_average_with_the_mirrored_crop():
    golden, heatmaps = golden_heatmaps()
    averaged = average_mirrored(heatmaps, heatmaps[::-1], COCO_17.mirror_permutation)
    sampled = np.moveaxis(np.asarray(averaged), -1, 1)[:, :, ::4, ::4]
    np.testing.assert_array_equal(sampled, golden["averaged_sub"])
    keypoints = np.asarray(read_keypoints(averaged))
    expected = golden["preds_flip_averaged"]
    np.testing.assert_allclose(in_image(keypoints, golden), expected, atol=1e-4)


def test_what_is_rendered_is_read_to_a_quarter_of_a_cell():
    rng = np.random.default_rng(0)
    points = rng.uniform([12, 12], [80, 110], (3, 17, 2))
    keypoints = jnp.asarray(np.concatenate([points, np.ones((3, 17, 1))], -1), jnp.float32)
    read = read_keypoints(render_heatmaps(keypoints, (32, 24)).heatmap)
    assert np.abs(read[..., :2] - points).max() <= STRIDE / 2 + 1e-3


def test_loss_counts_untrained_keypoints_in_its_mean_alone():
    targets = HeatmapTargets(jnp.zeros((2, 4, 3, 2)), jnp.array([[1.0, 0.0], [1.0, 0.0]]))
    heatmap = jnp.full((2, 4, 3, 2), 2.0)
    np.testing.assert_allclose(heatmap_loss(heatmap, targets), 0.5 * 4 / 2)
