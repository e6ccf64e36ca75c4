"""Labels of whole images: hand-made scenes whose answer is plain, and invariants of random ones."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.synthetic_crowds import bodies, limbs, poses
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import (
    Actor,
    Crowd,
    arrange,
    crowds,
    render_cast,
    training_batch,
)
from data_pipelines.synthetic_crowds.labels import annotate
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.data_pipelines.synthetic_crowds.test_bodies import plain_dress, plain_shape

HIDDEN, SEEN = 1, 2
SIZE = 128
CONFIG = CrowdConfig(people=(2, 5), size=SIZE)
EMPTY_SCENE = CrowdConfig(people=(2, 2), size=SIZE, occluders=0, distractors=0)


@jax.jit
def _two_people(
    angles: jax.Array, heading: jax.Array, hips: jax.Array, scale: jax.Array, layer: jax.Array
) -> Crowd:
    def actor(pose: jax.Array, turn: jax.Array) -> Actor:
        view = bodies.view(
            bodies.build_body(plain_shape(), plain_dress(), pose), limbs.rotation(1, turn)
        )
        return Actor(view, plain_dress(), jax.random.key(7), jnp.float32(1.0), jnp.bool_(False))

    key = jax.random.key(0)
    actors = jax.vmap(actor)(angles, heading)
    cast = arrange(key, actors, hips, scale, layer, jnp.ones(2, bool), SIZE)
    image, canvas = render_cast(key, cast, EMPTY_SCENE)
    names = bodies.landmark_indices(COCO_17)
    return annotate(image, canvas, cast.landmarks[:, names], cast.reach[:, names], cast.present)


def two_people(
    *,
    angles=({}, {}),
    heading=(0.0, 0.0),
    hips=((32.0, 60.0), (96.0, 60.0)),
    scale=(100.0, 100.0),
    layer=(0, 1),
) -> Crowd:
    """Two people of ordinary shape; angles in degrees by name, heading in degrees."""
    pose = np.zeros((2, len(poses.ANGLES)), np.float32)
    for person, given in enumerate(angles):
        for name, degrees in given.items():
            pose[person, poses.INDEX[name]] = np.radians(degrees)
    made = _two_people(
        jnp.asarray(pose),
        jnp.radians(jnp.asarray(heading, jnp.float32)),
        jnp.asarray(hips, jnp.float32),
        jnp.asarray(scale, jnp.float32),
        jnp.asarray(layer, jnp.int32),
    )
    return jax.tree.map(np.asarray, made)


def visibility(made: Crowd, person: int) -> dict[str, int]:
    return dict(zip(COCO_17.keypoints, made.keypoints[person, :, 2].astype(int), strict=True))


def test_apart_and_facing_the_camera_everything_is_seen():
    made = two_people(angles=({"left_shoulder_abduct": 20, "right_shoulder_abduct": 20},) * 2)
    for person in range(2):
        assert set(visibility(made, person).values()) == {SEEN}
    points = dict(zip(COCO_17.keypoints, made.keypoints[0], strict=True))
    assert (
        points["left_shoulder"][0] > points["right_shoulder"][0]
    )  # the camera's right is theirs to the left
    assert points["nose"][1] < points["left_hip"][1] < points["left_ankle"][1]


@pytest.mark.parametrize("front", [0, 1])
def test_a_large_person_in_front_hides_a_small_one(front):
    back = 1 - front
    scale, hips = [0.0, 0.0], [(64.0, 64.0)] * 2
    scale[front], scale[back] = 110.0, 70.0
    hips[back] = (64.0, 66.0)
    layer = [0, 0]
    layer[back] = 1
    angles = [{}, {}]  # spread arms stay in sight, or the person would not be annotated
    angles[back] = {"left_shoulder_abduct": 90.0, "right_shoulder_abduct": 90.0}
    two = partial(two_people, angles=angles, hips=hips, scale=scale)
    made = two(layer=layer)
    behind = visibility(made, back)
    assert behind["left_wrist"] == behind["right_wrist"] == SEEN
    for joint in ("left_shoulder", "right_shoulder", "left_hip", "right_hip"):
        assert behind[joint] == HIDDEN, joint
    assert visibility(made, front)["left_hip"] == SEEN
    # The other way round the small one is seen before the large one.
    swapped = two(layer=layer[::-1])
    assert visibility(swapped, back)["left_hip"] == SEEN
    assert visibility(swapped, front)["left_shoulder"] == SEEN  # it is not behind the small one
    np.testing.assert_array_equal(swapped.boxes, made.boxes)


def test_only_the_joint_behind_the_other_person_is_hidden():
    spread = {"left_shoulder_abduct": 90.0}
    apart = two_people(angles=(spread, {}), layer=(1, 0), hips=((30, 60), (200, 60)))
    wrist = apart.keypoints[0, COCO_17.keypoints.index("left_wrist")]
    assert wrist[2] == SEEN
    chest = (float(wrist[0]), float(wrist[1]) + 20.0)
    made = two_people(angles=(spread, {}), layer=(1, 0), hips=((30, 60), chest))
    v = visibility(made, 0)
    assert v["left_wrist"] == HIDDEN
    assert v["left_shoulder"] == v["right_wrist"] == v["left_ankle"] == SEEN
    np.testing.assert_array_equal(made.keypoints[0, :, :2], apart.keypoints[0, :, :2])
    np.testing.assert_array_equal(made.boxes[0], apart.boxes[0])  # of the whole person
    assert made.area[0] == apart.area[0]
    assert (made.owner == 0).sum() < (apart.owner == 0).sum()


def test_a_body_hides_its_own_far_side():
    # The left person shows the back; the right one faces the picture's right side.
    made = two_people(heading=(180.0, 90.0))
    back, profile = visibility(made, 0), visibility(made, 1)
    assert {back[name] for name in ("nose", "left_eye", "right_eye")} == {HIDDEN}
    assert {back[name] for name in ("left_shoulder", "right_hip", "left_ankle")} == {SEEN}
    assert profile["nose"] == SEEN
    assert profile["right_ear"] == profile["right_hip"] == profile["right_shoulder"] == SEEN
    assert profile["left_ear"] == profile["left_hip"] == profile["left_shoulder"] == HIDDEN
    nose, ear = made.keypoints[1, 0], made.keypoints[1, 4]
    assert nose[0] > ear[0]


def test_an_own_arm_hides_the_hip_behind_it():
    # Upper arm forward, forearm across the belly: seen from the front it is before the hip.
    before = {"left_shoulder_flex": 20, "left_elbow": 20}
    made = two_people(angles=(before, {}), heading=(90.0, 0.0))
    hidden = visibility(made, 0)
    assert hidden["left_hip"] == HIDDEN  # the far one
    reach = {"right_shoulder_flex": 0, "right_shoulder_abduct": 3}
    made = two_people(angles=(reach, {}), heading=(90.0, 0.0))
    assert visibility(made, 0)["right_wrist"] == SEEN


def test_outside_the_picture_nothing_is_labelled():
    made = two_people(hips=((5.0, 64.0), (64.0, 110.0)), scale=(100.0, 110.0))
    outside = made.keypoints[1, COCO_17.keypoints.index("left_ankle")]
    np.testing.assert_array_equal(outside, 0)
    _, y, _, height = made.boxes[1]
    assert y + height == SIZE and made.keypoints[1, COCO_17.keypoints.index("nose"), 2] == SEEN


@pytest.fixture(scope="module")
def traced() -> jax.stages.Traced:
    """Of four images; traced once, since that alone takes seconds."""
    program = jax.jit(partial(crowds, config=CONFIG, skeleton=COCO_17))
    return program.trace(jax.random.key(3), jnp.arange(4))


@pytest.fixture(scope="module")
def render(traced) -> Callable[..., Crowd]:
    return partial(traced.lower().compile(), jax.random.key(3))


@pytest.fixture(scope="module")
def random_crowds(render) -> Crowd:
    parts = [render(jnp.arange(first, first + 4)) for first in range(0, 48, 4)]
    return jax.tree.map(lambda *p: np.concatenate(p), *parts)


def test_an_image_is_the_same_in_any_company(render, random_crowds):
    indices = np.array([6, 41, 2, 19])
    made = render(jnp.asarray(indices))
    for name in Crowd._fields:
        np.testing.assert_array_equal(
            getattr(made, name), getattr(random_crowds, name)[indices], name
        )
    assert not np.array_equal(random_crowds.image[6], random_crowds.image[7])


@pytest.mark.slow
def test_an_image_is_the_same_alone(random_crowds):
    one = jax.jit(partial(crowds, config=CONFIG, skeleton=COCO_17))(
        jax.random.key(3), jnp.asarray([6])
    )
    for name in Crowd._fields:
        np.testing.assert_array_equal(getattr(one, name)[0], getattr(random_crowds, name)[6], name)


@pytest.mark.parametrize("platform", ["cuda", "tpu"])
def test_it_can_be_lowered_for_accelerators(traced, platform):
    assert "while" in traced.lower(lowering_platforms=(platform,)).as_text()


def test_seen_keypoints_lie_on_their_owner(random_crowds):
    count = 0
    for b, person, k in zip(*np.nonzero(random_crowds.keypoints[..., 2] == SEEN), strict=True):
        x, y = np.floor(random_crowds.keypoints[b, person, k, :2] + 0.5).astype(int)
        assert random_crowds.owner[b, y, x] == person
        count += 1
    assert count > 500


def test_hidden_keypoints_are_inside_the_picture_and_common(random_crowds):
    v = random_crowds.keypoints[..., 2]
    assert set(np.unique(v)) == {0, 1, 2}
    xy = random_crowds.keypoints[v > 0][:, :2]
    assert xy.min() >= -0.5 and xy.max() < SIZE - 0.5
    np.testing.assert_array_equal(random_crowds.keypoints[v == 0], 0)
    assert 0.1 < (v == HIDDEN).sum() / (v > 0).sum() < 0.6


def test_boxes_and_areas_are_those_of_whole_people(random_crowds):
    for b, person in zip(*np.nonzero(random_crowds.people), strict=True):
        whole = (random_crowds.presence[b] >> person) & 1 == 1
        seen = random_crowds.owner[b] == person
        assert not (seen & ~whole).any()
        assert seen.sum() >= 0.05 * whole.sum()
        y, x = np.nonzero(whole)
        expected = [x.min(), y.min(), x.max() + 1 - x.min(), y.max() + 1 - y.min()]
        np.testing.assert_array_equal(random_crowds.boxes[b, person], expected)
        assert random_crowds.area[b, person] == whole.sum()


def test_rows_of_absent_people_are_zero(random_crowds):
    absent = ~random_crowds.people
    assert absent.any() and (random_crowds.people.sum(axis=1) >= 1).all()
    for field in (random_crowds.keypoints, random_crowds.boxes, random_crowds.area):
        np.testing.assert_array_equal(field[absent], 0)


def test_both_skeletons_show_the_same_people(random_crowds):
    program = jax.jit(partial(crowds, config=CONFIG, skeleton=CROWDPOSE_14))
    other = jax.tree.map(np.asarray, program(jax.random.key(3), jnp.arange(4)))
    np.testing.assert_array_equal(other.image, random_crowds.image[:4])
    for k, name in enumerate(COCO_17.keypoints):
        if name in CROWDPOSE_14.keypoints:
            j = CROWDPOSE_14.keypoints.index(name)
            np.testing.assert_array_equal(
                other.keypoints[:, :, j], random_crowds.keypoints[:4, :, k], name
            )
    head, neck = (CROWDPOSE_14.keypoints.index(name) for name in ("head", "neck"))
    nose = random_crowds.keypoints[:4, :, 0]
    both = (nose[..., 2] > 0) & (other.keypoints[:, :, head, 2] > 0) & (nose[..., 1] > 20)
    between = other.keypoints[:, :, [head, neck], :2].mean(axis=2) - nose[..., :2]
    assert np.abs(between[both]).max() < 0.25 * SIZE  # the nose is between head's top and neck


def test_training_batches_are_in_input_pixels(random_crowds):
    batch = training_batch(jax.tree.map(jnp.asarray, random_crowds), max_people=30)
    assert batch["image"].dtype == batch["valid_mask"].dtype == jnp.uint8
    assert batch["keypoints"].shape == (48, 30, 17, 3) and batch["area"].shape == (48, 30)
    np.testing.assert_allclose(
        batch["keypoints"][:, :5, :, :2], random_crowds.keypoints[..., :2], atol=1e-5
    )
    np.testing.assert_array_equal(batch["keypoints"][:, :5, :, 2], random_crowds.keypoints[..., 2])
    np.testing.assert_array_equal(batch["keypoints"][:, 5:], 0)
    np.testing.assert_allclose(
        batch["area"][:, :5], random_crowds.boxes[..., 2] * random_crowds.boxes[..., 3]
    )
    top_left, top_right, bottom_left, bottom_right = (
        batch["corners"][:, :5, corner] for corner in range(4)
    )
    np.testing.assert_array_equal(top_left, random_crowds.boxes[..., :2])
    sides = random_crowds.boxes[..., 2:]
    np.testing.assert_allclose(bottom_right - top_left, sides, atol=1e-4)
    np.testing.assert_allclose(top_right - top_left, sides * [1, 0], atol=1e-4)
    np.testing.assert_allclose(bottom_left - top_left, sides * [0, 1], atol=1e-4)
    np.testing.assert_array_equal(batch["valid_mask"], np.ones((48, 32, 32)))


@pytest.mark.parametrize(
    ("wrong", "flag"),
    [
        ({"people": (0, 3)}, "people 0 3"),
        ({"people": (5, 2)}, "people 5 2"),
        ({"people": (2, 31)}, "people 2 31"),
        ({"overlap": 0.9}, "overlap 0.9"),
        ({"size": 100}, "size 100"),
        ({"occluders": -1}, "occluders"),
    ],
)
def test_wrong_dials_are_named(wrong, flag):
    with pytest.raises(InputError, match=flag):
        CrowdConfig(**wrong)
