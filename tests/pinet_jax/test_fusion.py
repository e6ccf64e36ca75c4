"""Pose fusion against the reference's figures, a slow twin, and hand-made groups."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax import fusion
from pinet_jax.fusion import PoseSet
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import golden

THRESHOLD = 0.7


@functools.cache
def program(sigmas):
    def run(poses):
        groups = fusion.group_poses(poses, sigmas, THRESHOLD)
        return groups, fusion.fuse_groups(groups)

    return jax.jit(run)


def fuse(keypoints, scores, sigmas, padded_to=96):
    """Leaders, group of every pose, fused poses and their scores, in the order of leaders."""
    count = len(scores)
    room = padded_to - count
    poses = PoseSet(
        jnp.pad(jnp.asarray(keypoints, jnp.float32), ((0, room), (0, 0), (0, 0))),
        jnp.pad(jnp.asarray(scores, jnp.float32), (0, room), constant_values=9.0),
        jnp.arange(padded_to) < count,
    )
    groups, fused = jax.device_get(program(tuple(sigmas))(poses))
    order = np.argsort(-np.asarray(scores, np.float32), kind="stable")
    leads = np.flatnonzero(groups.leads)
    group_of_pose = np.empty(count, int)
    group_of_pose[order] = np.searchsorted(leads, groups.leader[:count])
    return order[leads], group_of_pose, fused.keypoints[leads], fused.scores[leads]


def slow_fusion(keypoints, scores, sigmas):
    """The method as the paper tells it, pose by pose."""

    def oks(a, b):
        areas = [np.prod(np.ptp(p[:, :2], axis=0)) for p in (a, b)]
        distance = ((a[:, :2] - b[:, :2]) ** 2).sum(axis=1)
        spread = (2 * np.asarray(sigmas)) ** 2
        return np.exp(-distance / (2 * (np.mean(areas) + 2.0**-52) * spread)).mean()

    keypoints = np.asarray(keypoints, np.float64)
    remaining = list(np.argsort(-np.asarray(scores), kind="stable"))
    keep, fused, group_of_pose = [], [], np.empty(len(scores), int)
    while remaining:
        leader = remaining[0]
        group = [i for i in remaining if i == leader or oks(keypoints[leader], keypoints[i]) > 0.7]
        remaining = [i for i in remaining if i not in group]
        best = [max(group, key=lambda i, k=k: keypoints[i, k, 2]) for k in range(len(sigmas))]
        fused.append([keypoints[i, k] for k, i in enumerate(best)])
        group_of_pose[group] = len(keep)
        keep.append(leader)
    fused = np.array(fused)
    return np.array(keep), group_of_pose, fused, fused[..., 2].mean(axis=1)


@pytest.mark.parametrize("case", range(8))
def test_the_references_figures(case):
    figures = {k.removeprefix(f"case{case}_"): v for k, v in golden("fusion.npz").items()}
    keep, groups, fused, scores = fuse(figures["poses"], figures["scores"], figures["sigmas"])
    np.testing.assert_array_equal(keep, figures["keep"])
    np.testing.assert_array_equal(groups, figures["group_of_pose"])
    np.testing.assert_array_equal(fused, figures["fused"])
    np.testing.assert_allclose(scores, figures["fused_scores"], rtol=1e-6)


@pytest.mark.parametrize("seed", range(12))
def test_the_slow_twin(seed):
    rng = np.random.default_rng(seed)
    sigmas = (COCO_17 if seed % 2 else CROWDPOSE_14).sigmas
    people = rng.uniform(0, 60, (rng.integers(1, 9), len(sigmas), 2))
    count = int(rng.integers(1, 90))
    # Small shifts of a few people: long chains in which a follower is near several leaders.
    points = people[rng.integers(0, len(people), count)]
    points = points + rng.normal(size=(count, 1, 2)) * rng.uniform(0, 8)
    keypoints = np.concatenate([points, rng.normal(size=(*points.shape[:2], 1))], axis=-1)
    keypoints = keypoints.astype(np.float32)
    scores = keypoints[..., 2].mean(axis=1)
    expected = slow_fusion(keypoints, scores, sigmas)
    actual = fuse(keypoints, scores, sigmas)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-6)


def person(x=0.0, score=0.5):
    keypoints = np.zeros((17, 3), np.float32)
    keypoints[:, 0] = x + np.arange(17) * 3
    keypoints[:, 1] = np.arange(17) * 5
    keypoints[:, 2] = score
    return keypoints


def test_each_keypoint_comes_from_the_member_that_is_surest_of_it():
    first, second, far = person(0, 0.6), person(1, 0.5), person(500, 0.1)
    second[4, 2] = 0.9
    _, groups, fused, scores = fuse([first, second, far], [0.6, 0.5, 0.1], COCO_17.sigmas)
    np.testing.assert_array_equal(groups, [0, 0, 1])
    expected = first.copy()
    expected[4] = second[4]
    np.testing.assert_array_equal(fused, [expected, far])
    np.testing.assert_allclose(scores, [(16 * 0.6 + 0.9) / 17, 0.1], rtol=1e-6)


def test_ties_go_to_the_leader_then_to_the_earlier_member():
    poses = [person(2, 0.3), person(0, 0.3), person(1, 0.3)]
    poses[1][0, 2], poses[2][0, 2] = 0.8, 0.8
    _, _, fused, _ = fuse(poses, [0.9, 0.5, 0.4], COCO_17.sigmas)
    np.testing.assert_array_equal(fused[0, 1:], poses[0][1:])
    np.testing.assert_array_equal(fused[0, 0], poses[1][0])


def test_a_follower_takes_nobody():
    """a takes b, b is near c, a is not: c leads a group of its own."""
    step = 4.7
    poses = [person(0), person(step), person(2 * step)]
    sigmas = COCO_17.sigmas
    near = np.asarray(fusion.object_keypoint_similarity(jnp.asarray(poses), sigmas))
    assert near[0, 1] > THRESHOLD and near[1, 2] > THRESHOLD and near[0, 2] < THRESHOLD
    keep, groups, _, _ = fuse(poses, [0.9, 0.8, 0.7], sigmas)
    np.testing.assert_array_equal(keep, [0, 2])
    np.testing.assert_array_equal(groups, [0, 0, 1])


def test_the_unit_of_length_does_not_matter():
    figures = golden("fusion.npz")
    poses = figures["case6_poses"]
    enlarged = poses * np.array([8, 8, 1], np.float32)
    for actual, expected in zip(
        fuse(enlarged, figures["case6_scores"], figures["case6_sigmas"])[:2],
        fuse(poses, figures["case6_scores"], figures["case6_sigmas"])[:2],
        strict=True,
    ):
        np.testing.assert_array_equal(actual, expected)


def test_nobody_is_fused_into_nobody():
    groups, fused = program(COCO_17.sigmas)(
        PoseSet(jnp.zeros((96, 17, 3)), jnp.zeros(96), jnp.zeros(96, bool))
    )
    assert not groups.leads.any() and not fused.mask.any()
    assert np.isfinite(fused.keypoints).all()


def test_poses_without_extent_are_no_division_by_zero():
    points = np.zeros((3, 17, 3), np.float32)
    points[2, :, 0] = 1e-3
    keep, groups, fused, _ = fuse(points, [0.3, 0.2, 0.1], COCO_17.sigmas)
    np.testing.assert_array_equal(groups, [0, 0, 1])
    assert np.isfinite(fused).all() and len(keep) == 2


def test_leaders_stay_as_they_are_without_fusion():
    first, second = person(0, 0.6), person(1, 0.5)
    second[4, 2] = 0.9
    poses = PoseSet(jnp.asarray([second, first]), jnp.asarray([0.5, 0.6]), jnp.ones(2, bool))
    kept = fusion.leaders(fusion.group_poses(poses, COCO_17.sigmas))
    np.testing.assert_array_equal(kept.mask, [True, False])
    np.testing.assert_array_equal(kept.keypoints[0], first)
