"""Grouping from recorded candidates, and on crowds that the written-out procedure groups too."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import slow_grouping
from experiments.benchmarks.slow_grouping import crowd
from pinet_jax.errors import UsageError
from pinet_jax.grouping import Candidates, GroupingConfig, find_candidates, group_candidates
from pinet_jax.methods.higher_hrnet import HigherHRNet
from tests.conftest import golden

ORDER = HigherHRNet().order
CONFIG = GroupingConfig()
RECORDED = {
    "few": ("ae/ae_group_coco.npz", "c0_"),
    "some": ("ae/ae_group_coco.npz", "c1_"),
    "many": ("ae/ae_group_coco.npz", "c2_"),
    "photograph": ("higherhrnet/predict_single_coco.npz", ""),
    "three scales": ("higherhrnet/predict_multi_coco.npz", ""),
    "AE's photograph": ("ae/ae_predict_w32_coco_bn0.4-0.6.npz", ""),
}


@functools.cache
def program():
    group = functools.partial(group_candidates, order=ORDER, config=CONFIG)
    return jax.jit(jax.vmap(group))


def grouped(*crowds):
    """Rows x, y and value of every group, image by image."""
    values, xy, tags = (np.stack(arrays) for arrays in zip(*crowds, strict=True))
    groups = jax.device_get(program()(Candidates(xy[..., ::-1].astype(np.int32), values, tags)))
    table = np.concatenate([groups.yx[..., ::-1], groups.scores[..., None]], axis=-1)
    return [rows[mask] for rows, mask in zip(table, groups.mask, strict=True)]


@pytest.mark.parametrize("name", RECORDED)
def test_groups_are_the_references_in_their_order(name):
    file, prefix = RECORDED[name]
    figures = golden(f"baselines/{file}")
    candidates = (figures[f"{prefix}topk_{key}"] for key in ("val", "xy", "tag"))
    expected = figures[f"{prefix}grouped"][..., :3]
    np.testing.assert_array_equal(grouped(tuple(candidates))[0], expected)


@pytest.mark.parametrize("spread", [30, 8, 3, 1])
def test_crowds_are_grouped_as_by_the_procedure_written_out(spread):
    rng = np.random.default_rng(spread)
    crowds = [crowd(rng, spread=spread, strays=strays) for strays in (0, 3, 6)]
    for ours, scene in zip(grouped(*crowds), crowds, strict=True):
        np.testing.assert_array_equal(ours, slow_grouping.group(*scene, ORDER)[..., :3])


def test_equal_tags_open_one_group_whose_tags_begin_anew():
    rng = np.random.default_rng(0)
    crowds = [crowd(rng, spread=3) for _ in range(3)]
    for values, _, tags in crowds:
        tags[...] = np.round(tags * 2) / 2  # many are exactly equal
        values[:, ::4] = values[:, 1::4].max(axis=1, keepdims=True)
        values[...] = np.sort(values, axis=1)[:, ::-1]
    for ours, scene in zip(grouped(*crowds), crowds, strict=True):
        np.testing.assert_array_equal(ours, slow_grouping.group(*scene, ORDER)[..., :3])


def test_nobody_is_nobody():
    values, xy, tags = crowd(np.random.default_rng(0))
    assert len(grouped((values * 0.09, xy, tags))[0]) == 0


def test_tags_that_are_no_numbers_end_too():
    values, xy, tags = crowd(np.random.default_rng(0))
    assert len(grouped((values, xy, np.full_like(tags, np.nan)))[0]) > 0


def test_candidates_are_the_highest_of_their_windows():
    rng = np.random.default_rng(0)
    heatmap = rng.uniform(size=(2, 20, 30)).astype(np.float32)
    tags = rng.normal(size=(2, 2, 20, 30)).astype(np.float32)
    found = find_candidates(jnp.asarray(heatmap), jnp.asarray(tags), GroupingConfig(max_people=5))
    for k in range(2):
        edge = np.pad(heatmap[k], 2)
        peaks = {
            (y, x): heatmap[k, y, x]
            for y, x in np.ndindex(20, 30)
            if edge[y : y + 5, x : x + 5].max() == heatmap[k, y, x]
        }
        expected = sorted(peaks, key=peaks.get, reverse=True)[:5]
        assert [tuple(place) for place in found.yx[k].tolist()] == expected
        np.testing.assert_array_equal(found.scores[k], [peaks[place] for place in expected])
        y, x = np.array(expected).T
        np.testing.assert_array_equal(found.tags[k], tags[k][:, y, x].T)


def test_of_equal_peaks_the_first_in_reading_order_comes_first():
    heatmap = jnp.zeros((1, 12, 12)).at[0, 9, 1].set(1).at[0, 2, 8].set(1).at[0, 2, 2].set(1)
    found = find_candidates(heatmap, jnp.zeros((1, 1, 12, 12)), GroupingConfig(max_people=3))
    assert found.yx[0].tolist() == [[2, 2], [2, 8], [9, 1]]


@pytest.mark.parametrize("wrong", [{"max_people": 33}, {"max_people": 0}, {"window": 4}])
def test_what_cannot_be_done_is_refused_by_name(wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=f"{name} {wrong[name]}: use"):
        GroupingConfig(**wrong)
