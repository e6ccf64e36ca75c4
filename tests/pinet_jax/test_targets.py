"""Targets against the reference's figures, a slow readable twin, and hand-made cases."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Partition
from pinet_jax.targets import (
    SMALL_AREA,
    Targets,
    on_map,
    only_known_background,
    render_targets,
)
from tests.conftest import golden

SETS = {
    "ochuman": (COCO_17.partition("part-large"), SMALL_AREA),
    "crowdpose": (CROWDPOSE_14.partition("part-large"), 0.0),
}


@functools.partial(jax.jit, static_argnums=(3,), static_argnames=("part_sigma", "offset_radius"))
def _render(keypoints, area, valid_mask, partition, min_part_area, **options) -> Targets:
    render = functools.partial(
        render_targets, partition=partition, min_part_area=min_part_area, **options
    )
    return jax.vmap(render)(keypoints, area, valid_mask)


def _one(keypoints, area, size, partition, min_part_area=0.0, valid_mask=None, **options):
    """Targets of one image as numpy arrays, its people padded."""
    people = 6
    padding = people - len(area)
    keypoints = np.pad(np.float32(keypoints), ((0, padding), (0, 0), (0, 0)))
    area = np.pad(np.float32(area), (0, padding))
    mask = np.ones((size, size), np.uint8) if valid_mask is None else valid_mask
    batch = (jnp.asarray(a[None]) for a in (keypoints, area, mask))
    return jax.tree.map(
        lambda a: np.asarray(a[0]), _render(*batch, partition, min_part_area, **options)
    )


@pytest.mark.parametrize("case", range(4))
@pytest.mark.parametrize("name", SETS)
def test_equals_reference(name, case):
    figures = {
        key.removeprefix(f"case{case}_"): value
        for key, value in golden(f"targets_{name}.npz").items()
        if key.startswith(f"case{case}_")
    }
    partition, min_part_area = SETS[name]
    ours = _one(figures["keypoints"], figures["area"], 64, partition, min_part_area)
    for field in ("heatmap", "heatmap_weight", "part_map", "part_map_weight"):
        np.testing.assert_allclose(getattr(ours, field), figures[field], rtol=0, atol=1e-5)
    for field in ("offset", "offset_weight"):
        expected = figures[f"{field}_smallest_wins"].reshape(ours.offset.shape)
        if field == "offset_weight":  # the reference has one for x and one for y
            np.testing.assert_array_equal(expected[..., 0], expected[..., 1])
            expected = expected[..., 0]
        np.testing.assert_allclose(getattr(ours, field), expected, rtol=0, atol=1e-5)
    people = len(figures["area"])
    np.testing.assert_allclose(ours.part_points[:people], figures["part_points"], rtol=0, atol=1e-5)
    assert not ours.part_points[people:].any()


@pytest.mark.parametrize("case", range(5))
@pytest.mark.parametrize("name", ["targets_coco", "targets_coco_radius4_sigma4"])
def test_one_part_of_all_keypoints_equals_reference(name, case):
    """SPM, with the sizes of the released configs and with those of the released code."""

    def figure(key):
        key = f"case{case}_{key}"
        return figures[key] if key in figures else golden("baselines/spm/targets_coco.npz")[key]

    figures = golden(f"baselines/spm/{name}.npz")
    ours = _one(
        figure("joints"),
        figure("area"),
        64,
        COCO_17.partition("center"),
        SMALL_AREA,
        valid_mask=figure("valid_mask"),
        part_sigma=float(figures["center_sigma"]),
        offset_radius=int(figures["offset_radius"]),
    )
    for field, key in {
        "heatmap": "heatmap",
        "heatmap_weight": "heatmap_weight",
        "part_map": "center_heatmap",
        "part_map_weight": "center_weight",
        "offset": "offset_smallest_wins",
        "offset_weight": "offset_weight_smallest_wins",
    }.items():
        expected = np.moveaxis(figure(key), 0, -1)
        if field == "offset_weight":  # the reference has one for x and one for y
            np.testing.assert_array_equal(expected[..., ::2], expected[..., 1::2])
            expected = expected[..., ::2]
        actual = getattr(ours, field).reshape(expected.shape)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5, err_msg=key)


def _slow_maps(points, size):
    """The Gaussian maps, point by point."""
    maps = np.zeros((size, size, points.shape[1]))
    weights = np.full_like(maps, 0.1)
    for person in points:
        for channel, (x, y, v) in enumerate(person):
            if v == 0 or not (0 <= x < size and 0 <= y < size):
                continue
            for row in range(max(0, math.floor(y - 7)), min(size, math.ceil(y + 8))):
                for column in range(max(0, math.floor(x - 7)), min(size, math.ceil(x + 8))):
                    value = math.exp(-((column - x) ** 2 + (row - y) ** 2) / 8)
                    maps[row, column, channel] = max(maps[row, column, channel], value)
                    weights[row, column, channel] = 1
    return maps, weights


def _slow_offsets(keypoints, area, parts, size):
    """The offset maps, people from the largest to the smallest painting over one another."""
    channels = (size, size, parts.shape[1], keypoints.shape[1], 2)
    offsets, weights = np.zeros(channels), np.zeros(channels[:-1])
    for person in sorted(range(len(area)), key=lambda p: (-area[p], -p)):
        for part, (part_x, part_y, part_v) in enumerate(parts[person]):
            column, row = int(part_x), int(part_y)
            if part_v == 0 or not (0 <= column < size and 0 <= row < size):
                continue
            for k, (x, y, v) in enumerate(keypoints[person]):
                if v == 0 or not (0 <= x < size and 0 <= y < size):
                    continue
                for i in range(max(0, row - 2), min(size, row + 2)):
                    for j in range(max(0, column - 2), min(size, column + 2)):
                        offsets[i, j, part, k] = j - x, i - y
                        weights[i, j, part, k] = 1 / math.sqrt(area[person])
    return offsets, weights


def _slow_part_points(keypoints, area, partition: Partition, min_part_area):
    points = np.zeros((len(keypoints), len(partition), 3))
    for person, own in enumerate(keypoints):
        for part, (_, members) in enumerate(partition):
            labelled = [own[k, :2] for k in members if own[k, 2] > 0]
            if labelled and area[person] >= min_part_area:
                points[person, part] = *np.mean(labelled, axis=0), 2
    return points


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1), people=st.integers(0, 6))
def test_equals_slow_twin(seed, people):
    """Also where people overlap, stick out of the map, are small, or have one and the same area."""
    size, partition = 24, COCO_17.partition("part-large")
    rng = np.random.default_rng(seed)
    keypoints = np.zeros((people, 17, 3), np.float32)
    middle = rng.uniform(-3, size + 3, (people, 1, 2))
    keypoints[..., :2] = middle + rng.normal(0, rng.choice([0.3, 6]), (people, 17, 2))
    keypoints[..., 2] = rng.integers(0, 3, (people, 17))
    area = rng.choice([100, 1023, 1024, 5000.5], people).astype(np.float32)

    ours = _one(keypoints, area, size, partition, SMALL_AREA)
    parts = _slow_part_points(keypoints, area, partition, SMALL_AREA)
    np.testing.assert_allclose(ours.part_points[:people], parts, atol=1e-4)
    # The twin goes on from our part points: rounding must not move a window by a position.
    parts = ours.part_points[:people]
    for points, maps, weights in (
        (keypoints, ours.heatmap, ours.heatmap_weight),
        (parts, ours.part_map, ours.part_map_weight),
    ):
        slow_maps, slow_weights = _slow_maps(points, size)
        np.testing.assert_allclose(maps, slow_maps, atol=1e-5)
        np.testing.assert_allclose(weights, slow_weights, atol=1e-6)
    offsets, offset_weights = _slow_offsets(keypoints, area, parts, size)
    np.testing.assert_allclose(ours.offset, offsets, atol=1e-5)
    np.testing.assert_allclose(ours.offset_weight, offset_weights, atol=1e-6)


def test_mask_silences_maps_but_not_offsets():
    partition = COCO_17.partition("part-large")
    keypoints = np.full((1, 17, 3), 12.0)
    mask = np.zeros((24, 24), np.uint8)
    masked = _one(keypoints, [5000.0], 24, partition, valid_mask=mask)
    free = _one(keypoints, [5000.0], 24, partition)
    assert not masked.heatmap_weight.any() and not masked.part_map_weight.any()
    np.testing.assert_array_equal(masked.heatmap, free.heatmap)
    np.testing.assert_array_equal(masked.offset_weight, free.offset_weight)
    assert free.offset_weight.any()


def test_unknown_background_counts_nothing_but_where_somebody_is():
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 0] = 6, 6, 2
    free = _one(keypoints, [5000.0], 24, COCO_17.partition("part-large"))
    background = np.ones((24, 24, 18), bool)
    background[:12, :, 0] = False  # of the nose, in the upper half
    background[:, :5, -1] = False  # of parts, on the left
    ours = only_known_background(free, jnp.asarray(background))
    expected = np.where(free.heatmap > 0, 1, 0.1)
    expected[:12, :, 0] = free.heatmap[:12, :, 0] > 0
    np.testing.assert_allclose(ours.heatmap_weight, expected, rtol=1e-6)
    parts = np.where(free.part_map > 0, 1, 0.1)
    parts[:, :5] = free.part_map[:, :5] > 0
    np.testing.assert_allclose(ours.part_map_weight, parts, rtol=1e-6)
    np.testing.assert_array_equal(ours.offset_weight, free.offset_weight)


def test_windows_are_cut_at_the_maps_border():
    """A window at the first position must not reach around to the last ones."""
    partition = COCO_17.partition("center")
    keypoints = np.zeros((1, 17, 3))
    keypoints[0, 0] = 0.5, 0.25, 2
    ours = _one(keypoints, [100.0], 24, partition)
    rows, columns = np.nonzero(ours.offset_weight[..., 0, 0])
    assert set(zip(rows, columns, strict=True)) == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_allclose(ours.offset[1, 1, 0, 0], [0.5, 0.75])
    np.testing.assert_allclose(ours.offset_weight[1, 1, 0, 0], 0.1)
    assert not ours.heatmap[12:].any()


def test_padding_paints_nothing():
    partition = COCO_17.partition("part-large")
    empty = _one(np.zeros((0, 17, 3)), [], 24, partition)
    assert not empty.heatmap.any() and not empty.part_map.any()
    assert not empty.offset.any() and not empty.offset_weight.any()
    assert (empty.heatmap_weight == np.float32(0.1)).all()


def test_an_image_stays_on_its_device():
    """Rendering a batch spread over devices moves nothing between them."""
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    spread = jax.NamedSharding(mesh, jax.P("data"))
    partition = COCO_17.partition("part-large")
    shapes = ((8, 6, 17, 3), (8, 6), (8, 24, 24))
    batch = [jax.ShapeDtypeStruct(shape, jnp.float32, sharding=spread) for shape in shapes]
    program = _render.lower(*batch, partition, 0.0).compile().as_text()
    for collective in ("all-gather", "all-reduce", "all-to-all", "collective-permute"):
        assert collective not in program


@pytest.mark.parametrize("stride", [2, 4])
def test_keypoints_go_where_the_released_codes_mirror_them_on_the_map(stride):
    side = 64
    x = np.linspace(-3, 70, 17, dtype=np.float32)
    points = np.stack([x, 2 * x, np.ones_like(x)], axis=-1)[None, None]  # [1, 1, K, 3]
    mirrored = points.copy()
    mirrored[..., 0] = side - 1 - x
    frames = {"keypoints": np.concatenate([points, mirrored]), "mirrored": np.array([False, True])}
    plain, turned = np.asarray(on_map(frames, stride))[:, 0]
    np.testing.assert_allclose(plain, points[0, 0] / [stride, stride, 1], rtol=1e-6)
    np.testing.assert_allclose(turned[:, 0], side / stride - 1 - x / stride, atol=1e-5)
    np.testing.assert_allclose(turned[:, 1], 2 * x / stride, rtol=1e-6)
