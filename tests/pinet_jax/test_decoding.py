"""Decoding against the reference's figures and slow readable twins."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax import decoding
from pinet_jax.skeletons import COCO_17


def slow_peaks(part_map, window):
    """Positions that nothing in their window exceeds, highest first."""
    h, w = part_map.shape
    reach = window // 2
    found = []
    for y in range(h):
        for x in range(w):
            around = part_map[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
            if part_map[y, x] == around.max() and part_map[y, x] > 0.01:
                found.append((-part_map[y, x], y, x))
    return sorted(found)[:30]


@pytest.mark.parametrize("shape, window", [((12, 20), 3), ((210, 200), 5), ((310, 300), 7)])
def test_peaks_agree_with_a_slow_search(shape, window):
    rng = np.random.default_rng(0)
    maps = (0.1 * rng.normal(size=(2, *shape, 3))).astype(np.float32)
    peaks = jax.device_get(jax.jit(decoding.find_peaks)(maps))
    for image in range(2):
        for part in range(3):
            expected = slow_peaks(maps[image, ..., part], window)
            mask = peaks.mask[image, part]
            np.testing.assert_array_equal(
                peaks.yx[image, part][mask], [(y, x) for _, y, x in expected]
            )
            np.testing.assert_array_equal(
                peaks.scores[image, part][mask], [-score for score, _, _ in expected]
            )


def test_a_map_without_peaks_has_none():
    peaks = decoding.find_peaks(-np.ones((1, 8, 8, 1), np.float32))
    assert not peaks.mask.any()


def test_a_map_smaller_than_thirty_positions_is_searched_whole():
    part_map = np.zeros((1, 4, 4, 1), np.float32)
    part_map[0, 2, 1] = 1
    peaks = decoding.find_peaks(part_map)
    assert peaks.mask.sum() == 1
    np.testing.assert_array_equal(peaks.yx[0, 0, 0], [2, 1])


def test_a_pose_is_position_minus_offset_of_its_own_part():
    rng = np.random.default_rng(0)
    offset = rng.normal(size=(2, 3, 5, 3, 17, 2)).astype(np.float32)
    yx = rng.integers(0, 9, (2, 3, 5, 2)).astype(np.int32)
    poses = decoding.read_poses(offset, yx)
    for image, part, peak in np.ndindex(2, 3, 5):
        expected = yx[image, part, peak][::-1] - offset[image, part, peak, part]
        np.testing.assert_allclose(poses[image, part, peak], expected, rtol=1e-6)


def test_mirroring_poses_twice_changes_nothing_and_once_swaps_sides():
    poses = np.random.default_rng(0).normal(size=(4, 17, 2)).astype(np.float32)
    swap = COCO_17.mirror_permutation
    once = decoding.mirror_poses(poses, 20, swap)
    np.testing.assert_allclose(once[:, 5, 0], 19 - poses[:, 6, 0], rtol=1e-6)
    np.testing.assert_array_equal(once[:, 5, 1], poses[:, 6, 1])
    np.testing.assert_allclose(decoding.mirror_poses(once, 20, swap), poses, atol=1e-5)


def test_the_mirrored_image_is_shifted_onto_the_maps_positions():
    image = np.arange(8, dtype=np.float32)[None, None, :, None] + 1
    mirrored = decoding.mirror_images(np.broadcast_to(image, (1, 2, 8, 3)))
    np.testing.assert_array_equal(mirrored[0, 0, :, 0], [5, 4, 3, 2, 1, 0, 0, 0])


def test_behind_the_shifted_image_its_own_last_columns_may_stay():
    image = np.broadcast_to(np.arange(8, dtype=np.float32)[None, None, :, None], (1, 2, 8, 3))
    mirrored = decoding.mirror_images(image, keep_last=True)
    np.testing.assert_array_equal(mirrored[0, 0, :, 0], [4, 3, 2, 1, 0, 2, 1, 0])


def test_scores_of_other_scales_come_to_the_range_of_scale_1():
    scores = [jnp.asarray([[2.0, 4.0, 9.0]]), jnp.asarray([[0.5, 0.2]]), jnp.asarray([[7.0]])]
    masks = [
        jnp.asarray([[True, True, False]]),
        jnp.asarray([[True, True]]),
        jnp.asarray([[False]]),
    ]
    found = decoding.comparable_scores(scores, masks, (2.0, 1.0, 0.5), 0.8)
    np.testing.assert_allclose(found[0][0, :2], [0.2, 0.4], rtol=1e-6)
    np.testing.assert_allclose(found[1][0], [0.5, 0.2], rtol=1e-6)
    nobody = [masks[0], ~masks[1], masks[2]]  # then the highest score counts as 1
    found = decoding.comparable_scores(scores, nobody, (2.0, 1.0, 0.5), 0.8)
    np.testing.assert_allclose(found[0][0, :2], [0.4, 0.8], rtol=1e-6)


def slow_enlarged(heatmap, factor):
    """The reference's enlarged map: corners aligned, then the last row and column repeated."""
    h, w = heatmap.shape
    out = np.empty((h * factor, w * factor))
    for i in range(h * factor):
        for j in range(w * factor):
            y, x = min(i / factor, h - 1), min(j / factor, w - 1)
            r, c = min(int(y), h - 2), min(int(x), w - 2)
            a, b = y - r, x - c
            out[i, j] = (1 - a) * ((1 - b) * heatmap[r, c] + b * heatmap[r, c + 1]) + a * (
                (1 - b) * heatmap[r + 1, c] + b * heatmap[r + 1, c + 1]
            )
    return out


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_reading_the_map_is_reading_the_enlarged_map(factor):
    rng = np.random.default_rng(0)
    heatmap = rng.normal(size=(6, 5, 1)).astype(np.float32)
    large = slow_enlarged(heatmap[..., 0], factor)
    limit = np.array([5, 6]) * factor - 1
    points = rng.uniform(-0.99, limit - 0.01, (200, 1, 2))  # x and y on the enlarged map
    expected = []
    for x, y in points[:, 0]:
        r, c = int(y), int(x)  # cut off toward zero
        a, b = y - r, x - c
        expected.append(
            (1 - a) * ((1 - b) * large[r, c] + b * large[r, c + 1])
            + a * ((1 - b) * large[r + 1, c] + b * large[r + 1, c + 1])
        )
    actual = decoding.read_heatmap(heatmap, (points / factor).astype(np.float32))
    np.testing.assert_allclose(actual[:, 0], expected, atol=2e-5)
