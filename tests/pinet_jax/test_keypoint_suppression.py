"""Suppression by keypoints against the released code's figures, a slow twin and hand-made cases."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.decoding import comparable_scores
from pinet_jax.keypoint_suppression import suppress_coinciding
from pinet_jax.poses import PoseSet
from tests.conftest import golden

ROOM = 40


@functools.partial(jax.jit, static_argnames=("distance", "keypoints", "limit"))
def suppressed(poses, heat, distance, keypoints, limit):
    return suppress_coinciding(poses, heat, distance=distance, keypoints=keypoints, limit=limit)


def kept(points, heat, *, distance=0.1, keypoints=8, limit=30, room=ROOM):
    """The numbers of the poses that are kept, in order."""
    padding = room - len(points)
    numbered = np.concatenate([points, np.zeros_like(points[..., :1])], axis=-1)
    numbered[..., 2] = np.arange(len(points))[:, None]
    poses = PoseSet(
        jnp.asarray(np.pad(numbered, ((0, padding), (0, 0), (0, 0))), jnp.float32),
        jnp.zeros(room),
        jnp.asarray(np.arange(room) < len(points)),
    )
    heat = jnp.asarray(np.pad(heat, (0, padding), constant_values=9), jnp.float32)
    found = jax.device_get(suppressed(poses, heat, distance, keypoints, limit))
    return found.keypoints[found.mask][:, 0, 2].astype(int).tolist()


def slow_kept(points, heat, *, distance=0.1, keypoints=8, limit=30):
    left, order = set(range(len(points))), []
    for i, pose in enumerate(points):
        if i not in left:
            continue
        diagonal = np.linalg.norm(np.ptp(pose, axis=0))
        crowd = [
            j
            for j, other in enumerate(points)
            if (np.linalg.norm(pose - other, axis=-1) < distance * diagonal).sum() > keypoints
        ]
        best = max(crowd, key=lambda j: heat[j])
        if best in left:
            order.append(best)
            left -= set(crowd)
    if len(order) > limit:
        order = sorted(order, key=lambda j: -heat[j])[:limit]
    return order


def crowd(rng, count):
    people = rng.uniform(0, 100, (4, 1, 2)) + rng.normal(size=(4, 17, 2)) * 15
    return people[rng.integers(0, 4, count)] + rng.normal(size=(count, 17, 2)) * 3


@pytest.mark.parametrize("seed", range(10))
def test_agrees_with_a_slow_twin(seed):
    rng = np.random.default_rng(seed)
    points, heat = crowd(rng, ROOM - seed), rng.uniform(size=ROOM - seed)
    for limit in (30, 3):
        assert kept(points, heat, limit=limit) == slow_kept(points, heat, limit=limit)


@pytest.mark.parametrize("case", range(6))
def test_equals_the_reference(case):
    figures = {
        name.removeprefix(f"case{case}_"): array
        for name, array in golden("baselines/dekr/nms_coco.npz").items()
    }
    found = [figures[name] for name in sorted(n for n in figures if n.startswith("candidates_"))]
    scales = (2.0, 1.0, 0.5) if len(found) == 3 else (1.0,)
    masks = [jnp.asarray(np.arange(ROOM) < len(poses))[None] for poses in found]
    padded = [np.pad(x, ((0, ROOM - len(x)), (0, 0), (0, 0))) for x in found]
    centers = [jnp.asarray(x[None, :, 0, 2]) for x in padded]
    scores = np.concatenate(comparable_scores(centers, masks, scales, 0.9), axis=1)[0]
    points = np.concatenate(padded)[..., :2]

    map_scale = figures["heat_channel_scale"][:, None, None]
    heat_map = figures["heat_average_x64"].astype(np.float32) * map_scale / 64
    x, y = np.floor(points).astype(int).transpose(2, 0, 1)
    heat = heat_map[np.arange(17), y.clip(0, 63), x.clip(0, 79)]
    keypoints = np.concatenate([points, (scores[:, None] * heat)[..., None]], axis=-1)
    mask = jnp.concatenate(masks, axis=1)[0]
    poses = PoseSet(jnp.asarray(keypoints), jnp.asarray(keypoints[..., 2].mean(axis=-1)), mask)
    threshold = float(figures["threshold"])
    result = jax.device_get(suppressed(poses, jnp.asarray(heat.mean(axis=-1)), threshold, 8, 30))

    assert result.mask.sum() == len(figures["kept"])
    np.testing.assert_allclose(result.keypoints[result.mask], figures["kept"], rtol=1e-5)
    np.testing.assert_allclose(result.scores[result.mask], figures["scores"], rtol=1e-5)


def test_only_the_taking_poses_extent_counts():
    small, large = np.zeros((17, 2)), np.zeros((17, 2))
    small[0], large[0] = (10, 0), (100, 0)
    large[1:, 1] = 3
    # 3 pixels are little for the large one, and much for the small one.
    assert kept(np.stack([small, large]), [0.9, 0.5]) == [0]  # the large one's best is taken
    assert kept(np.stack([small, large]), [0.5, 0.9]) == [0, 1]
    assert kept(np.stack([large, small]), [0.9, 0.5]) == [0]


def test_a_pose_without_extent_is_kept_and_nobody_is_a_set():
    point = np.zeros((1, 17, 2))
    assert kept(point, [0.5]) == [0]
    assert kept(np.zeros((0, 17, 2)), np.zeros(0)) == []
