"""From single people's heatmaps to poses: the reference's figures, a slow twin, borders."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.decoding import find_peaks
from pinet_jax.instance_decoding import read_keypoints, smoothed
from pinet_jax.networks.cid import probability
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import golden

FIGURES = "baselines/cid/decode.npz"
SETS = {"coco": COCO_17, "ochuman": COCO_17, "crowdpose": CROWDPOSE_14}


@pytest.mark.parametrize("name", SETS)
def test_centers_and_poses_are_the_references(name):
    figures = {
        key.removeprefix(f"{name}_"): value
        for key, value in golden(FIGURES).items()
        if key.startswith(f"{name}_")
    }
    side, swap = int(figures["kernel"]), list(SETS[name].mirror_permutation)
    direct, mirrored = (figures[f"center_logits_{x}"] for x in ("direct", "mirror"))
    center = (probability(direct) + probability(mirrored[:, ::-1])) / 2
    peaks = find_peaks(smoothed(center[None, ..., None], side))
    mask = np.asarray(peaks.mask[0, 0])
    scores = np.asarray(peaks.scores[0, 0])[mask]
    np.testing.assert_array_equal(peaks.yx[0, 0][mask], figures["peak_yx"])
    np.testing.assert_allclose(scores, figures["peak_score"], rtol=1e-5)

    direct, mirrored = (figures[f"instance_heatmap_{x}"] for x in ("direct", "mirror"))
    heatmaps = ((direct + mirrored[:, swap]) / 2)[figures["peak_row"]]
    keypoints = np.asarray(read_keypoints(smoothed(np.moveaxis(heatmaps, 1, -1), side)))
    np.testing.assert_allclose(4 * keypoints[..., :2] + 2, figures["poses"][..., :2], atol=0.05)
    keypoint_scores = keypoints[..., 2] * scores[:, None]
    np.testing.assert_allclose(keypoint_scores, figures["poses"][..., 2], rtol=1e-3)
    np.testing.assert_allclose(keypoint_scores.mean(axis=1), figures["scores"], rtol=1e-3)


@pytest.mark.parametrize("seed", [87, 152, 68])
def test_peaks_of_large_maps_are_the_references(seed):
    figures = golden(FIGURES)
    rng = np.random.default_rng(seed)
    logits = (rng.normal(size=figures[f"window{seed}_size"]) * 2).astype(np.float32)
    peaks = find_peaks(smoothed(probability(logits)[None, ..., None], 3))
    np.testing.assert_array_equal(peaks.yx[0, 0], figures[f"window{seed}_peak_yx"])
    np.testing.assert_allclose(peaks.scores[0, 0], figures[f"window{seed}_peak_score"], rtol=1e-5)


@pytest.mark.parametrize("side", [3, 11])
def test_smoothing_equals_a_slow_twin(side):
    maps = np.random.default_rng(0).normal(size=(2, 6, 9, 3)).astype(np.float32)
    reach = side // 2
    wide = np.pad(maps, ((0, 0), (reach, reach), (reach, reach), (0, 0)))
    expected = np.empty_like(maps)
    for y, x in np.ndindex(6, 9):
        window = wide[:, y : y + side, x : x + side]
        expected[:, y, x] = (maps[:, y, x] + window.sum(axis=(1, 2)) / side**2) / 2
    np.testing.assert_allclose(smoothed(jnp.asarray(maps), side), expected, atol=1e-6)


def one(*values):
    """A map of 4 x 5 positions with these values: (y, x, value)."""
    heatmap = np.zeros((1, 4, 5, 1), np.float32)
    for y, x, value in values:
        heatmap[0, y, x, 0] = value
    return np.asarray(read_keypoints(jnp.asarray(heatmap)))[0, 0].tolist()


def test_a_keypoint_moves_a_quarter_towards_its_better_neighbour():
    assert one((2, 3, 1.0)) == [3, 2, 1]
    assert one((2, 3, 1.0), (2, 2, 0.5), (3, 3, 0.5)) == [2.75, 2.25, 1]
    assert one((2, 3, 1.0), (2, 4, 0.1), (1, 3, 0.5)) == [3.25, 1.75, 1]


def test_on_the_border_a_keypoint_stays_on_it():
    assert one((0, 2, 1.0), (1, 2, 0.5), (0, 1, 0.5)) == [1.75, 0, 1]
    assert one((3, 4, 1.0), (3, 3, 0.5), (2, 4, 0.5)) == [4, 3, 1]


def test_of_equal_positions_the_first_is_taken():
    assert one((1, 4, 1.0), (2, 0, 1.0)) == [4, 1, 1]


def test_channels_are_read_on_their_own():
    rng = np.random.default_rng(0)
    heatmaps = rng.normal(size=(2, 6, 5, 3)).astype(np.float32)
    together = read_keypoints(jnp.asarray(heatmaps))
    for image, channel in np.ndindex(2, 3):
        alone = jax.jit(read_keypoints)(heatmaps[image : image + 1, ..., channel : channel + 1])
        np.testing.assert_array_equal(together[image, channel], alone[0, 0])
