"""Drawn poses: the right colours in the right places, on every picture."""

import itertools

import numpy as np
import pytest

from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton
from pinet_jax.visualization import draw_poses, person_color

STICK = Skeleton(
    name="stick",
    keypoints=("top", "bottom"),
    mirror_pairs=(),
    sigmas=(0.1, 0.1),
    edges=((0, 1),),
)


def stick(x, score=1.0, *, top=20.0, bottom=180.0):
    return [[x, top, score], [x, bottom, score]]


def grey(height=400, width=600):
    return np.full((height, width, 3), 90, np.uint8)


def test_a_limb_and_its_points_have_the_persons_colour():
    picture = draw_poses(grey(), [stick(50), stick(150)], [0.9, 0.8], STICK)
    for row, (x, index) in itertools.product((20, 100, 180), ((50, 0), (150, 1))):
        np.testing.assert_array_equal(picture[row, x], person_color(index))
    np.testing.assert_array_equal(picture[:, 200:], grey()[:, 200:])


def test_a_low_score_is_fainter():
    scores = (0.25, 0.15, 0.05)
    picture = draw_poses(
        grey(),
        [stick(50 + 90 * i, s) for i, s in enumerate(scores)],
        scores,
        STICK,
        score_threshold=0,
    )
    seen = [
        np.abs(picture[100, 50 + 90 * i].astype(int) - 90).sum()
        / np.abs(np.array(person_color(i)) - 90).sum()
        for i in range(3)
    ]
    assert seen[0] == 1
    assert seen[0] > seen[1] + 0.1 > seen[2] + 0.2 > 0.3


def test_a_limb_is_as_faint_as_its_fainter_end():
    pose = stick(50)
    pose[1][2] = 0.0
    picture = draw_poses(grey(), [pose], [1.0], STICK)
    np.testing.assert_array_equal(picture[20, 50], person_color(0))
    assert np.abs(picture[100, 50].astype(int) - 90).max() < 60


def test_a_solid_limb_is_not_cut_by_a_faint_one():
    cross = Skeleton("cross", ("a", "b", "c", "d"), (), (0.1,) * 4, edges=((0, 1), (2, 3)))
    for faint in ((0, 1), (2, 3)):
        pose = np.array([[50, 100, 1.0], [250, 100, 1], [150, 10, 1], [150, 190, 1]])
        pose[faint, 2] = 0.0
        picture = draw_poses(grey(), pose[None], [1.0], cross)
        np.testing.assert_array_equal(picture[100, 150], person_color(0))


def test_the_threshold_leaves_poses_out_and_keeps_the_colours():
    picture = draw_poses(grey(), [stick(50), stick(150)], [0.1, 0.6], STICK, score_threshold=0.5)
    np.testing.assert_array_equal(picture[100, 50], (90, 90, 90))
    np.testing.assert_array_equal(picture[100, 150], person_color(1))


def test_the_best_person_is_on_top():
    first, second = (
        draw_poses(grey(), [stick(50), stick(50)], scores, STICK)
        for scores in ((0.9, 0.8), (0.8, 0.9))
    )
    np.testing.assert_array_equal(first[100, 50], person_color(0))
    np.testing.assert_array_equal(second[100, 50], person_color(1))


def test_the_picture_given_is_not_changed():
    image = grey()
    image.flags.writeable = False
    assert (draw_poses(image, [stick(50)], [1.0], STICK) != image).any()
    np.testing.assert_array_equal(image, grey())


def test_lines_grow_with_the_picture_but_not_beyond_a_small_person():
    def line_width(size, length):
        pose = stick(size / 2, top=size / 2 - length / 2, bottom=size / 2 + length / 2)
        row = draw_poses(grey(size, size), [pose], [1.0], STICK)[size // 2]
        return (row == person_color(0)).all(axis=1).sum()

    assert 11 <= line_width(2000, 1600) <= 13
    assert 3 <= line_width(500, 400) <= 5
    assert 3 <= line_width(2000, 100) <= 5


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (7, 3), (64, 64)])
def test_tiny_pictures(shape):
    rng = np.random.default_rng(0)
    poses = rng.uniform(-1, 2, (30, 17, 3)) * (*shape[::-1], 1)
    picture = draw_poses(grey(*shape), poses, rng.uniform(0, 1, 30), COCO_17)
    assert picture.shape == (*shape, 3) and picture.dtype == np.uint8


def test_points_outside_or_not_finite_are_harmless():
    rng = np.random.default_rng(0)
    poses = rng.uniform(-300, 600, (40, 14, 3))
    wild = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 1e9])
    poses.reshape(-1)[rng.integers(0, poses.size, 200)] = rng.choice(wild, 200)
    draw_poses(grey(), poses, np.ones(40), CROWDPOSE_14)
    nowhere = np.full((1, 14, 3), np.nan)
    np.testing.assert_array_equal(draw_poses(grey(), nowhere, [1.0], CROWDPOSE_14), grey())
    outside = np.full((1, 14, 3), -5000.0)
    np.testing.assert_array_equal(draw_poses(grey(), outside, [1.0], CROWDPOSE_14), grey())


def test_a_limb_that_leaves_the_picture_is_drawn_up_to_its_edge():
    picture = draw_poses(grey(), [[[50, 100, 1], [9000, 100, 1]]], [1.0], STICK)
    np.testing.assert_array_equal(picture[100, 60:600], np.tile(person_color(0), (540, 1)))


def test_no_poses():
    np.testing.assert_array_equal(draw_poses(grey(), np.zeros((0, 2, 3)), [], STICK), grey())


def test_twenty_one_people_have_colours_of_their_own():
    colors = np.array([person_color(i) for i in range(21)])
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=2)
    assert distance[~np.eye(21, dtype=bool)].min() > 25
    assert person_color(21) == person_color(0)
