"""Crowding: hand-made boxes and people, slow twins, and CrowdPose's own figures."""

import numpy as np
import pytest

from data_pipelines.annotations import read_annotations
from pinet_jax.evaluation.crowding import (
    box_iou,
    crowd_index,
    crowding,
    histogram,
    mean_box_iou,
    parts_without,
)
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Part
from tests.conftest import shared_data


def _people(*points: list[tuple[float, float, int]]) -> np.ndarray:
    return np.array(points, np.float32)


def test_box_iou_of_hand_made_boxes():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 2, 2], [0, 0, 2, 2], [5, 5, 1, 1]])
    expected = [[1, 1 / 3, 1, 0], [1 / 3, 1, 1 / 3, 0], [1, 1 / 3, 1, 0], [0, 0, 0, 1]]
    np.testing.assert_allclose(box_iou(boxes), expected)


def test_box_iou_of_boxes_without_area_is_zero():
    np.testing.assert_array_equal(box_iou(np.zeros((2, 4))), np.zeros((2, 2)))


def test_box_iou_agrees_with_counted_pixels():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([rng.integers(0, 20, (6, 2)), rng.integers(1, 20, (6, 2))], axis=1)
    masks = np.zeros((6, 40, 40), bool)
    for mask, (x, y, w, h) in zip(masks, boxes, strict=True):
        mask[y : y + h, x : x + w] = True
    for i in range(6):
        for j in range(6):
            counted = (masks[i] & masks[j]).sum() / (masks[i] | masks[j]).sum()
            assert box_iou(boxes)[i, j] == pytest.approx(counted)


def test_mean_box_iou_takes_each_persons_closest_neighbour():
    boxes = np.array([[0, 0, 2, 2], [1, 0, 2, 2], [50, 50, 2, 2]])
    assert mean_box_iou(boxes) == pytest.approx((1 / 3 + 1 / 3 + 0) / 3)


@pytest.mark.parametrize("people", [0, 1])
def test_nobody_is_crowded_alone(people):
    assert mean_box_iou(np.ones((people, 4))) == 0.0


def test_crowd_index_counts_others_keypoints_in_each_box():
    boxes = np.array([[0, 0, 10, 10], [8, 0, 10, 10]])
    keypoints = _people(
        [(1, 1, 2), (2, 2, 1), (9, 9, 2), (3, 3, 0)],  # 3 labelled in its box, one in the other's
        [(9, 1, 2), (12, 2, 2), (17, 5, 1), (100, 100, 2)],  # 3 in its box, one in the first one's
    )
    assert crowd_index(boxes, keypoints) == pytest.approx((1 / 3 + 1 / 3) / 2)


def test_crowd_index_without_people_or_labels_is_zero():
    assert crowd_index(np.zeros((0, 4)), np.zeros((0, 14, 3))) == 0.0
    assert crowd_index(np.ones((1, 4)), np.zeros((1, 14, 3))) == 0.0


def test_crowd_index_is_that_of_crowdposes_file():
    """The file was computed on annotations that were corrected later: most agree to a digit."""
    file = shared_data("crowdpose", "json", "crowdpose_val.json")
    annotations = read_annotations([file], CROWDPOSE_14)
    errors = []
    for image in annotations.images:
        people = annotations.people[image["id"]]
        boxes = np.array([person["bbox"] for person in people])
        keypoints = np.array([person["keypoints"] for person in people]).reshape(-1, 14, 3)
        errors.append(abs(crowd_index(boxes, keypoints) - image["crowdIndex"]))
    assert np.median(errors) < 0.005  # within the two digits of the file


def test_parts_without_a_visible_keypoint():
    partition = (Part("a", (0,)), Part("b", (1, 2)))
    keypoints = _people(
        [(0, 0, 2), (0, 0, 1), (0, 0, 2)],  # both parts seen
        [(0, 0, 1), (0, 0, 0), (0, 0, 1)],  # none seen, both labelled
        [(0, 0, 0), (0, 0, 2), (0, 0, 0)],  # only b
    )
    assert parts_without(keypoints, partition) == pytest.approx(3 / 6)
    assert parts_without(keypoints, partition, least_v=1) == pytest.approx(1 / 6)


def test_an_edge_belongs_to_the_upper_bin_and_the_last_bin_is_open():
    counts = histogram(np.array([0, 0.15, 0.3, 0.7, 1.0, 3.02]), np.linspace(0, 1, 21))
    expected = np.zeros(20, int)
    expected[[0, 3, 6, 14]] = 1
    expected[19] = 2
    np.testing.assert_array_equal(counts, expected)


def test_figures_of_a_set():
    seen = np.zeros((2, 17, 3))
    seen[0, :5, 2] = 2  # a head
    seen[1, 11, 2] = 1  # a hidden hip
    nobody = np.zeros((1, 17, 3))
    boxes = np.array([[0.0, 0, 2, 2], [1, 0, 2, 2]])
    figures = crowding([(boxes, seen, 0.4), (boxes[:1], nobody, 0.1)], COCO_17)
    assert (figures.images, figures.people) == (2, 2)
    np.testing.assert_array_equal(figures.people_per_image, [2, 0])
    np.testing.assert_allclose(figures.box_iou, [1 / 3, 0])
    np.testing.assert_allclose(figures.crowd_index, [0.4, 0.1])
    np.testing.assert_array_equal(figures.visibility[0], [1, 0, 1])
    np.testing.assert_array_equal(figures.visibility[11], [1, 1, 0])
    assert figures.hidden_parts["center"] == 0.5
    assert figures.unlabelled_parts["center"] == 0.0
    assert figures.hidden_parts["part-large"] == pytest.approx(5 / 6)
    assert figures.unlabelled_parts["part-large"] == pytest.approx(3 / 6)  # the hip is in two


def test_crowd_index_is_computed_where_one_image_lacks_it():
    none = (np.zeros((0, 4)), np.zeros((0, 17, 3)))
    figures = crowding([(*none, 0.9), (*none, None)], COCO_17)
    assert not figures.crowd_index_known
    np.testing.assert_array_equal(figures.crowd_index, [0, 0])
