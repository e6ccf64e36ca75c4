"""The dial of crowding."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.synthetic_crowds import placement
from pinet_jax.evaluation import crowding

PEOPLE, CHOICES, IMAGES, SIZE = 8, 6, 60, 256


@pytest.fixture(scope="module")
def overlap_of():
    """Mean box IoU of 60 images for a wanted one: boxes of upright, wide and crouching people."""

    @jax.jit
    def place(keys: jax.Array, overlap: jax.Array) -> tuple[jax.Array, jax.Array]:
        def one(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            shape_key, place_key, count_key = jax.random.split(key, 3)
            count = jax.random.randint(count_key, (), 2, PEOPLE + 1)
            half = jax.random.uniform(shape_key, (2, PEOPLE, CHOICES), minval=0.1, maxval=0.4)
            boxes = jnp.stack([-half[0], -0.2 - 0.8 * half[1], half[0], 0.5 * half[1] + 0.2], -1)
            places = placement.place_people(
                place_key, boxes, jnp.ones((PEOPLE, CHOICES)), count, overlap, SIZE
            )
            present = jnp.arange(PEOPLE) < count
            return places.box, present

        return jax.lax.map(one, keys)

    keys = jax.random.split(jax.random.key(5), IMAGES)
    return lambda overlap: jax.tree.map(np.asarray, place(keys, jnp.float32(overlap)))


@pytest.mark.parametrize("wanted", [0.0, 0.1, 0.3, 0.5, 0.8])
def test_the_wanted_overlap_is_reached(overlap_of, wanted):
    boxes, present = overlap_of(wanted)
    boxes = np.concatenate([boxes[..., :2], boxes[..., 2:] - boxes[..., :2]], -1)
    reached = [crowding.mean_box_iou(b[p]) for b, p in zip(boxes, present, strict=True)]
    assert np.mean(reached) == pytest.approx(wanted, abs=0.03)
    assert boxes[present][:, 2:].min() > 5  # nobody is pushed out of the picture


def test_overlap_is_the_evaluations():
    rng = np.random.default_rng(0)
    corner, sides = rng.random((6, 2)), 0.3 + rng.random((6, 2))
    corners = jnp.asarray(np.concatenate([corner, corner + sides], -1), jnp.float32)
    expected = crowding.box_iou(np.concatenate([corner, sides], -1))
    np.testing.assert_allclose(placement.pairwise_iou(corners, corners), expected, atol=1e-6)
