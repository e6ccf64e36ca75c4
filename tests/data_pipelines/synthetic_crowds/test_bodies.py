"""Poses stay within a human's limits, and bodies follow them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.synthetic_crowds import bodies, poses, shapes
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton

POSES = 500


def plain_shape() -> shapes.Shape:
    return shapes.Shape(*[jnp.float32(1.0)] * len(shapes.Shape._fields))


def plain_dress() -> shapes.Dress:
    zero = jnp.float32(0.0)
    return shapes.Dress(zero, jnp.float32(1.0), jnp.float32(0.1), zero, zero, zero)


def landmarks_of(angles: jax.Array) -> jax.Array:
    return bodies.build_body(plain_shape(), plain_dress(), angles).landmarks


@pytest.fixture(scope="module")
def angles() -> np.ndarray:
    return np.asarray(jax.vmap(poses.sample_pose)(jax.random.split(jax.random.key(0), POSES))[0])


@pytest.fixture(scope="module")
def landmarks(angles) -> dict[str, np.ndarray]:
    placed = np.asarray(jax.jit(jax.vmap(landmarks_of))(angles))
    return {name: placed[:, j] for j, name in enumerate(bodies.LANDMARKS)}


def test_drawn_angles_are_within_the_limits(angles):
    for name, index in poses.INDEX.items():
        low, high = np.radians(poses.LIMITS[name])
        assert angles[:, index].min() >= low - 1e-5, name
        assert angles[:, index].max() <= high + 1e-5, name


def test_drawn_poses_use_the_ranges(angles):
    spread = np.degrees(angles.max(axis=0) - angles.min(axis=0))
    for joint in ("left_knee", "right_elbow", "left_hip_flex", "right_shoulder_flex"):
        assert spread[poses.INDEX[joint]] > 90, joint


def test_mirroring_twice_changes_nothing(angles):
    once = jax.vmap(poses.mirror_pose)(angles)
    assert not np.allclose(once, angles)
    np.testing.assert_array_equal(jax.vmap(poses.mirror_pose)(once), angles)


def test_a_mirrored_pose_is_the_mirror_image_of_the_body(angles):
    placed = jax.jit(jax.vmap(landmarks_of))
    seen = np.asarray(placed(angles))[:, :17]
    mirrored = np.asarray(placed(jax.vmap(poses.mirror_pose)(angles)))[:, :17]
    expected = seen[:, COCO_17.mirror_permutation] * np.float32([-1, 1, 1])
    np.testing.assert_allclose(mirrored, expected, atol=1e-5)


def test_limbs_keep_their_length(landmarks):
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("shoulder", "elbow"), ("elbow", "wrist")):
        for side in ("left", "right"):
            length = np.linalg.norm(landmarks[f"{side}_{a}"] - landmarks[f"{side}_{b}"], axis=-1)
            np.testing.assert_allclose(length, length[0], rtol=1e-4)


def test_joints_bend_no_further_than_their_limit(landmarks):
    """The angle between two bones is the joint's, whatever the other joints do."""
    for joint, chain in (
        ("knee", ("hip", "knee", "ankle")),
        ("elbow", ("shoulder", "elbow", "wrist")),
    ):
        for side in ("left", "right"):
            a, b, c = (landmarks[f"{side}_{name}"] for name in chain)
            first, second = b - a, c - b
            cos = np.sum(first * second, axis=-1)
            cos /= np.linalg.norm(first, axis=-1) * np.linalg.norm(second, axis=-1)
            bend = np.degrees(np.arccos(np.clip(cos, -1, 1)))
            low, high = poses.LIMITS[f"{side}_{joint}"]
            assert bend.min() > low - 1.0 and bend.max() < high + 1.0


def test_knees_bend_backward_and_elbows_forward():
    bent = np.zeros(len(poses.ANGLES), np.float32)
    for name in ("left_knee", "right_elbow"):
        bent[poses.INDEX[name]] = np.radians(90)
    placed = dict(zip(bodies.LANDMARKS, np.asarray(landmarks_of(jnp.asarray(bent))), strict=True))
    assert placed["left_ankle"][2] < placed["left_knee"][2] - 0.2
    assert placed["right_wrist"][2] > placed["right_elbow"][2] + 0.1


def test_a_standing_person_has_human_proportions():
    standing = jnp.zeros(len(poses.ANGLES))
    placed = dict(zip(bodies.LANDMARKS, np.asarray(landmarks_of(standing)), strict=True))
    height = placed["head"][1] - placed["left_ankle"][1]
    assert 0.9 < height < 1.0
    assert 0.45 < (placed["left_hip"][1] - placed["left_ankle"][1]) / height < 0.56
    assert 0.2 < (placed["left_shoulder"][0] - placed["right_shoulder"][0]) / height < 0.27
    assert placed["left_wrist"][1] < placed["left_hip"][1] + 0.02  # hands hang by the thighs
    assert placed["nose"][2] > placed["left_ear"][2]  # the face is in front
    assert placed["left_eye"][0] > 0 > placed["right_eye"][0]


def test_both_skeletons_name_the_same_joints():
    coco, crowdpose = map(bodies.landmark_indices, (COCO_17, CROWDPOSE_14))
    shared = set(COCO_17.keypoints) & set(CROWDPOSE_14.keypoints)
    assert len(shared) == 12
    for name in shared:
        assert coco[COCO_17.keypoints.index(name)] == crowdpose[CROWDPOSE_14.keypoints.index(name)]


def test_a_keypoint_nobody_has_is_an_error():
    tail = Skeleton("cat", ("nose", "tail_tip"), (), (0.1, 0.1), ((0, 1),))
    with pytest.raises(InputError, match=r"cat.*tail_tip"):
        bodies.landmark_indices(tail)
