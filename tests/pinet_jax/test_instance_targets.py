"""Targets of people one by one, against the reference's figures and by hand."""

import functools
import math

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax import instance_targets
from pinet_jax.skeletons import COCO_17
from pinet_jax.targets import SMALL_AREA, part_points
from tests.conftest import golden

SIZE, PEOPLE = 64, 12
CASES = [
    (f"baselines/cid/{file}_coco.npz", case) for file in ("targets", "dataset") for case in range(4)
]


def padded(array, dtype):
    rest = [(0, 0)] * (array.ndim - 1)
    return jnp.asarray(np.pad(array.astype(dtype), [(0, PEOPLE - len(array)), *rest]))


@functools.cache
def case(file, number):
    prefix = f"case{number}_"
    figures = golden(file)
    return {k.removeprefix(prefix): v for k, v in figures.items() if k.startswith(prefix)}


@jax.jit
def targets(keypoints, corners, area, jitter):
    """As training makes them, of one image."""
    centers = part_points(keypoints, area, COCO_17.partition("center"), SMALL_AREA)
    radius = instance_targets.gaussian_radius(corners, SIZE)
    maps = instance_targets.everybodys_heatmaps(
        jnp.concatenate([keypoints, centers], axis=1), radius, SIZE
    )
    people = instance_targets.choose_instances(centers[:, 0], area, jitter, SIZE)
    own = jax.vmap(functools.partial(instance_targets.own_heatmaps, size=SIZE))(
        keypoints[people.person], radius[people.person]
    )
    return centers[:, 0], maps, people, own


@pytest.mark.parametrize(("file", "number"), CASES)
def test_equals_reference(file, number):
    figures = case(file, number)
    centers, maps, people, own = jax.device_get(
        targets(
            padded(figures["keypoints"], np.float32),
            padded(figures["bbox_corners"], np.float32),
            padded(figures["area"], np.float32),
            padded(figures["jitter_xy"], np.int32),
        )
    )
    np.testing.assert_allclose(centers[: len(figures["center"])], figures["center"], atol=2e-5)
    expected = np.moveaxis(figures["multi_heatmap"], 0, -1)
    np.testing.assert_allclose(maps, expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(maps == 1, expected == 1)  # the focal loss's peaks

    count = len(figures["instance_yx"])
    np.testing.assert_array_equal(people.mask, np.arange(PEOPLE) < count)
    np.testing.assert_array_equal(people.yx[:count], figures["instance_yx"])
    expected = np.moveaxis(figures["instance_heatmap"], 1, -1)
    np.testing.assert_allclose(own[:count], expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(own[:count] == 1, expected == 1)
    labelled = padded(figures["keypoints"], np.float32)[people.person[:count], :, 2] > 0
    np.testing.assert_array_equal(labelled, figures["instance_mask"])


def boxes(height, width):
    """Corners of upright boxes at the origin, [P, 4, 2]."""
    corners = np.zeros((len(height), 4, 2), np.float32)
    corners[:, (1, 3), 0], corners[:, (2, 3), 1] = width[:, None], height[:, None]
    return jnp.asarray(corners)


def test_radii_are_the_references():
    figures = golden("baselines/cid/targets_coco.npz")
    height, width = figures["radius_box"].T
    radius = instance_targets.gaussian_radius(boxes(height, width), 128)
    np.testing.assert_array_equal(radius, figures["radius"])


def test_radii_are_cornernets_for_every_box():
    """In double precision, as it is written there; also where the result is a whole number."""
    height, width = (x.reshape(-1) + 1.0 for x in np.indices((181, 181)))
    a, b, c = 4 * 0.7, -2 * 0.7 * (height + width), (0.7 - 1) * height * width
    expected = ((b + np.sqrt(b**2 - 4 * a * c)) / 2).astype(int)
    radius = instance_targets.gaussian_radius(boxes(height, width), 182)
    np.testing.assert_array_equal(radius, expected)


def test_a_box_is_measured_inside_of_the_map():
    corners = boxes(np.array([40.0, 500.0]), np.array([40.0, 0.0]))
    radius = instance_targets.gaussian_radius(corners.at[0].add(30.5), SIZE)
    # 63 - 30.5 pixels are left of the first, rounded up to 33; the second has no width.
    inside = instance_targets.gaussian_radius(boxes(np.array([33.0]), np.array([33.0])), SIZE)
    assert radius.tolist() == [inside[0], 0]


def slow_heatmaps(points, radius, size):
    """One person's, position by position."""
    maps = np.zeros((size, size, len(points)))
    sigma = (2 * radius + 1) / 6
    for channel, (x, y, v) in enumerate(points):
        column, row = int(x), int(y)
        if v == 0 or not (0 <= column < size and 0 <= row < size):
            continue
        for i, j in np.ndindex(size, size):
            if max(abs(i - row), abs(j - column)) <= radius:
                square = (i - row) ** 2 + (j - column) ** 2
                maps[i, j, channel] = math.exp(-square / (2 * sigma**2))
    return maps


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_heatmaps_equal_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    points = rng.uniform(-2, 18, (3, 4, 3)).astype(np.float32)
    points[..., 2] = rng.integers(0, 3, (3, 4))
    radius = rng.integers(0, 7, 3).astype(np.int32)
    ours = _everybody(points, radius)
    expected = np.max([slow_heatmaps(p, r, 16) for p, r in zip(points, radius, strict=True)], 0)
    np.testing.assert_allclose(ours, expected, atol=1e-6)
    np.testing.assert_array_equal(ours == 1, expected == 1)


@jax.jit
def _everybody(points, radius):
    return instance_targets.everybodys_heatmaps(points, radius, 16)


def slow_choice(centers, area, jitter, size):
    """One person after the other, the smallest first."""
    taken = []
    for person in sorted(range(len(area)), key=lambda p: (area[p], p)):
        x, y, v = centers[person]
        x, y = int(x), int(y)
        if v == 0 or not (0 <= x < size and 0 <= y < size):
            continue
        to_x, to_y = x + jitter[person][0], y + jitter[person][1]
        if 0 <= to_x < size and 0 <= to_y < size:
            x, y = to_x, to_y
        if (y, x) not in [place for _, place in taken]:
            taken.append((person, (y, x)))
    return taken


@hypothesis.settings(max_examples=40, deadline=None)
@hypothesis.given(seed=st.integers(0, 2**32 - 1))
def test_choice_equals_a_slow_twin(seed):
    """Many people on a small map: positions coincide, leave the map, or are of nobody."""
    rng = np.random.default_rng(seed)
    centers = rng.uniform(-1.5, 5, (8, 3)).astype(np.float32)
    centers[:, 2] = rng.integers(0, 2, 8) * 2
    area = rng.choice([1.0, 2.0, 3.0], 8).astype(np.float32)
    jitter = rng.integers(-1, 2, (8, 2)).astype(np.int32)
    people = jax.device_get(_choose(centers, area, jitter))
    found = list(zip(people.person.tolist(), map(tuple, people.yx.tolist()), strict=True))
    expected = slow_choice(centers, area, jitter, 4)
    assert found[: people.mask.sum()] == expected
    assert people.mask.tolist() == [i < len(expected) for i in range(8)]


@jax.jit
def _choose(centers, area, jitter):
    return instance_targets.choose_instances(centers, area, jitter, 4)
