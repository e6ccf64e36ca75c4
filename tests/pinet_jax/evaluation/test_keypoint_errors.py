"""Each kind of error, made by hand."""

import numpy as np
import pytest

from data_pipelines.annotations import check_results
from pinet_jax.evaluation.keypoint_errors import KINDS, keypoint_errors
from pinet_jax.evaluation.summary import evaluate
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.coco_files import read_truth

NOSE, LEFT_WRIST, RIGHT_WRIST = (
    COCO_17.keypoints.index(name) for name in ("nose", "left_wrist", "right_wrist")
)


def person(number, left):
    points = np.indices((5, 5)).reshape(2, -1).T[:17] * 40.0 + (left, 0)
    return {
        "id": number,
        "image_id": 1,
        "category_id": 1,
        "keypoints": np.column_stack([points, np.full(17, 2)]).ravel().tolist(),
        "num_keypoints": 17,
        "bbox": [left, 0, 200, 200],
        "area": 40000.0,
        "iscrowd": 0,
    }


@pytest.fixture
def errors():
    """What becomes of a keypoint when the first of two people's poses is changed."""
    truth = {"images": [{"id": 1}], "annotations": [person(1, 0), person(2, 1000)]}

    def run(change, *, both=True, unlabelled=()):
        for k in unlabelled:
            truth["annotations"][0]["keypoints"][3 * k : 3 * k + 3] = [0, 0, 0]
        dataset = read_truth(truth, "coco", COCO_17)
        poses = [np.reshape(person(0, left)["keypoints"], (17, 3)) for left in (0, 1000)]
        change(*poses)
        results = [
            {"image_id": 1, "keypoints": pose.ravel().tolist(), "score": 0.9}
            for pose in poses[: 1 + both]
        ]
        results = check_results(results, dataset, COCO_17)
        matches = evaluate(dataset, results, "coco").matches
        return keypoint_errors(dataset, results, matches, COCO_17)

    return run


def count(errors, keypoint, kind):
    return errors.counts[keypoint, KINDS.index(kind)]


def test_perfect_poses_are_good_everywhere(errors):
    found = errors(lambda first, second: None)
    assert (found.counts[:, 0] == 2).all()
    assert found.counts[:, 1:].sum() == found.undetected.sum() == 0
    np.testing.assert_allclose(found.similarity, 1)


def test_jitter_is_a_little_off(errors):
    sigma = COCO_17.sigmas[NOSE]

    def shift(first, second):
        first[NOSE, 0] += 200 * 2 * sigma  # similarity exp(-1/2)

    found = errors(shift)
    assert count(found, NOSE, "jitter") == count(found, NOSE, "good") == 1
    assert found.similarity[NOSE] == pytest.approx((1 + np.exp(-0.5)) / 2)


def test_miss_is_nowhere_near(errors):
    def shift(first, second):
        first[NOSE, 1] += 500

    assert count(errors(shift), NOSE, "miss") == 1


def test_inversion_is_the_other_side(errors):
    def swap_sides(first, second):
        first[[LEFT_WRIST, RIGHT_WRIST]] = first[[RIGHT_WRIST, LEFT_WRIST]]

    found = errors(swap_sides)
    assert count(found, LEFT_WRIST, "inversion") == count(found, RIGHT_WRIST, "inversion") == 1


@pytest.mark.parametrize("theirs", [LEFT_WRIST, RIGHT_WRIST])
def test_swap_is_somebody_elses(errors, theirs):
    def take(first, second):
        first[LEFT_WRIST] = second[theirs]

    assert count(errors(take), LEFT_WRIST, "swap") == 1


def test_people_not_found_are_undetected(errors):
    found = errors(lambda first, second: None, both=False)
    assert (found.undetected == 1).all()
    assert (found.counts.sum(axis=1) == 1).all()


def test_unlabelled_keypoints_are_no_errors(errors):
    found = errors(lambda first, second: None, unlabelled=[NOSE])
    assert found.counts[NOSE].sum() == 1
    assert found.undetected[NOSE] == 0
