"""Intervals against theory, comparisons against what must hold."""

import dataclasses

import numpy as np
import pytest

from data_pipelines.annotations import check_results
from pinet_jax.errors import InputError
from pinet_jax.evaluation.bootstrap import bootstrap, interval
from pinet_jax.evaluation.crowding import mean_box_iou
from pinet_jax.evaluation.summary import (
    box_iou_of_images,
    check_bins,
    evaluate,
    paired_differences,
    summarize,
)
from pinet_jax.evaluation.tables import to_json, to_text
from pinet_jax.skeletons import CROWDPOSE_14
from tests.data_pipelines.coco_files import read_truth
from tests.pinet_jax.evaluation.crowds import make_crowd


@pytest.fixture(scope="module")
def crowd():
    dataset, results = make_crowd(CROWDPOSE_14, images=40, seed=3)
    dataset = read_truth(dataset, "crowdpose", CROWDPOSE_14)
    results = check_results(results, dataset, CROWDPOSE_14)
    return dataset, results, evaluate(dataset, results, "crowdpose")


def test_interval_of_a_mean_is_the_textbooks():
    values = np.random.default_rng(0).normal(size=400)
    samples = bootstrap(lambda w: np.array([w @ values / w.sum()]), 400, resamples=4000)
    ((low, high),) = interval(samples)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert (high - low) / 2 == pytest.approx(half, rel=0.05)
    assert (high + low) / 2 == pytest.approx(values.mean(), abs=0.1 * half)


def test_resamples_hold_as_many_images_and_repeat_with_the_seed():
    weights = bootstrap(lambda w: w, 7, resamples=50, seed=5)
    assert (weights.sum(axis=1) == 7).all()
    np.testing.assert_array_equal(weights, bootstrap(lambda w: w, 7, resamples=50, seed=5))


def test_undefined_resamples_are_left_out():
    samples = np.array([[1.0, np.nan], [np.nan, np.nan], [1.0, np.nan]])
    np.testing.assert_array_equal(interval(samples), [[1, 1], [np.nan, np.nan]])


def test_intervals_hold_the_figures_and_bins_add_up(crowd):
    dataset, results, evaluation = crowd
    summary = summarize(dataset, results, evaluation, "crowdpose", resamples=200)
    assert set(summary.intervals) == set(summary.metrics)
    for key, (low, high) in summary.intervals.items():
        assert low - 0.02 <= summary.metrics[key] <= high + 0.02, key
    assert sum(part.images for part in summary.crowding) == summary.images == 40
    assert sum(part.people for part in summary.crowding) == summary.people


def test_bins_are_the_tools_figures_on_their_images(crowd):
    dataset, results, evaluation = crowd
    edges = (0.0, 0.1, 0.3, 1.0)
    summary = summarize(dataset, results, evaluation, "crowdpose", crowding_bins=edges, resamples=0)
    assert summary.intervals == {}
    for part in summary.crowding:
        ids = set()
        for image in dataset["images"]:
            people = [p for p in dataset["annotations"] if p["image_id"] == image["id"]]
            overlap = mean_box_iou(np.array([p["bbox"] for p in people if not p["iscrowd"]]))
            if part.low <= overlap < part.high:
                ids.add(image["id"])
        alone = {
            **dataset,
            "images": [image for image in dataset["images"] if image["id"] in ids],
            "annotations": [p for p in dataset["annotations"] if p["image_id"] in ids],
        }
        found = [result for result in results if result["image_id"] in ids]
        expected = evaluate(alone, found, "crowdpose").metrics["AP"]
        assert part.images == len(ids) > 0
        assert expected == pytest.approx(part.AP, abs=1e-12)


def test_the_last_bin_holds_its_upper_end():
    box = [0, 0, 10, 10]
    people = [
        {"id": n, "image_id": 1, "keypoints": [1, 1, 2] * 14, "bbox": box, "category_id": 1}
        for n in (1, 2)
    ]
    dataset = {"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": people}
    dataset = read_truth(dataset, "crowdpose", CROWDPOSE_14)
    assert box_iou_of_images(dataset, np.array([1])) == [1.0]
    evaluation = evaluate(dataset, [], "crowdpose")
    summary = summarize(dataset, [], evaluation, "crowdpose", resamples=0)
    assert [part.images for part in summary.crowding] == [0] * 9 + [1]


def test_a_system_does_not_differ_from_itself(crowd):
    dataset, _, evaluation = crowd
    differences = paired_differences(dataset, evaluation, evaluation, resamples=30)
    assert set(differences) == set(evaluation.metrics)
    for figure in differences.values():
        assert (figure.difference, figure.interval, figure.first_better) == (0, (0, 0), 0.5)


def test_comparison_is_surer_than_the_figures_and_antisymmetric(crowd):
    dataset, results, evaluation = crowd
    rng = np.random.default_rng(0)
    shaken = []
    for result in results:
        keypoints = np.reshape(result["keypoints"], (-1, 3)).copy()
        keypoints[:, :2] += rng.normal(scale=2.0, size=(14, 2))
        shaken.append({**result, "keypoints": keypoints.ravel().tolist()})
    other = evaluate(dataset, shaken, "crowdpose")
    there = paired_differences(dataset, evaluation, other, resamples=200)["AP"]
    back = paired_differences(dataset, other, evaluation, resamples=200)["AP"]
    assert there.interval[0] > 0
    assert there.first_better == 1.0
    assert there.difference == -back.difference
    assert there.interval == pytest.approx((-back.interval[1], -back.interval[0]))
    own = summarize(dataset, results, evaluation, "crowdpose", resamples=200).intervals["AP"]
    assert there.interval[1] - there.interval[0] < (own[1] - own[0]) / 2


def test_tables_state_every_figure(crowd):
    dataset, results, evaluation = crowd
    summary = summarize(dataset, results, evaluation, "crowdpose", resamples=20)
    differences = paired_differences(dataset, evaluation, evaluation, resamples=20)
    content = to_json(summary, differences)
    text = to_text(summary, differences)
    for key, figure in evaluation.metrics.items():
        assert content[key] == figure
        assert f"\n{key:<16}{100 * figure:6.1f}" in text
    assert content["comparison"]["AP"]["difference"] == 0
    assert f"{summary.crowding[0].images:>8}" in text


def test_figures_of_some_people_say_of_how_many(crowd):
    dataset, results, evaluation = crowd
    evaluation = dataclasses.replace(evaluation, people_of={"AP50": 1, "AP75": 1200})
    summary = summarize(dataset, results, evaluation, "crowdpose", resamples=20)
    lines = {line.split()[0]: line for line in to_text(summary).splitlines() if line}
    assert lines["AP50"].endswith(" 1 person")
    assert lines["AP75"].endswith(" 1,200 people")
    assert ".." in lines["AP"]
    assert to_json(summary)["people_of"] == {"AP50": 1, "AP75": 1200}


@pytest.mark.parametrize("edges", [(), (0.5,), (0.5, 0.5), (0.6, 0.5), (-0.1, 1), (0.5, 1.5)])
def test_odd_bins_are_refused(edges):
    with pytest.raises(InputError, match="crowding_bins"):
        check_bins(edges)


def test_a_set_without_anybody_to_find_says_so():
    dataset = {"images": [{"id": 1}], "annotations": []}
    dataset = read_truth(dataset, "crowdpose", CROWDPOSE_14)
    evaluation = evaluate(dataset, [], "crowdpose")
    summary = summarize(dataset, [], evaluation, "crowdpose", resamples=0)
    assert "no figures: nobody outside of crowds has a labelled keypoint" in to_text(summary)
