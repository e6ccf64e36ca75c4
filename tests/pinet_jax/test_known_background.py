"""Keypoints that may be there without a label: neither targets nor background in people's boxes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.targets import known_background
from tests.tiny import BACKBONE

SIZE, NOSE, LEFT_EYE = 24, 0, 1
MODEL = PINet(COCO_17, backbone=BACKBONE, refinement=RefinementConfig(blocks=1))


def box(x, y, w, h, degrees=0.0):
    """The corners of a box that is turned about its first one."""
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.array([[0, 0], [w, 0], [0, h], [w, h]]) @ turn.T + [x, y]


@pytest.mark.parametrize("degrees", [0.0, 30.0, -75.0])
def test_inside_a_turned_box_by_its_sides(degrees):
    """Twin: a point is inside where it is on the inner side of all four edges."""
    corners = np.stack([box(8.3, 7.1, 11, 6, degrees), np.zeros((4, 2))])
    labelled = np.zeros((2, 17), bool)
    labelled[0, NOSE] = True
    found = known_background(
        jnp.asarray(corners, jnp.float32), jnp.asarray(labelled), jnp.asarray(True), SIZE
    )
    ring = corners[0][[0, 1, 3, 2]]
    for y in range(SIZE):
        for x in range(SIZE):
            sides = [
                np.cross([*(b - a), 0], [x - a[0], y - a[1], 0])[2]
                for a, b in zip(ring, np.roll(ring, -1, axis=0), strict=True)
            ]
            assert bool(found[y, x, LEFT_EYE]) == (min(sides) < 0), (x, y)
    assert found[..., NOSE].all() and found[..., -1].all()


def test_only_labelled_people_of_partial_sets_hide_background():
    corners = jnp.asarray(np.stack([box(2, 2, 10, 10), box(14, 14, 8, 8)]), jnp.float32)
    labelled = jnp.zeros((2, 17), bool).at[0, NOSE].set(True)  # the second has no label at all
    whole = known_background(corners, labelled, jnp.asarray(False), SIZE)
    assert whole.all()
    partial = known_background(corners, labelled, jnp.asarray(True), SIZE)
    assert (~partial[..., LEFT_EYE]).sum() == 100
    assert partial[13:, 13:].all()


def test_weights_of_a_batch():
    """Two frames alike, of which one may lack labels."""
    keypoints = np.zeros((2, 1, 17, 3), np.float32)
    keypoints[:, 0, NOSE] = 48, 48, 2
    batch = {
        "keypoints": keypoints,
        "area": np.full((2, 1), 1600, np.float32),
        "corners": np.tile(4 * box(6, 6, 12, 12), (2, 1, 1, 1)).astype(np.float32),
        "valid_mask": np.ones((2, SIZE, SIZE), np.uint8),
        "partial": np.array([False, True]),
    }
    targets = jax.jit(MODEL.targets)({name: jnp.asarray(array) for name, array in batch.items()})
    weight = np.asarray(targets.heatmap_weight)
    assert (weight[0, ..., LEFT_EYE] == np.float32(0.1)).all()
    unknown = np.zeros((SIZE, SIZE), bool)
    unknown[6:18, 6:18] = True
    np.testing.assert_array_equal(weight[1, ..., LEFT_EYE] == 0, unknown)
    np.testing.assert_array_equal(weight[1, ..., NOSE], weight[0, ..., NOSE])
    np.testing.assert_array_equal(targets.part_map_weight[1], targets.part_map_weight[0])
