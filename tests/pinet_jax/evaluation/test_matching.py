"""Matches must give the tools' figures, for the whole set, for parts of it, and for copies."""

import copy
import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_pipelines.annotations import check_results
from pinet_jax.evaluation.coco import evaluate_coco
from pinet_jax.evaluation.matching import (
    OKS_THRESHOLDS,
    SUMMARY_KEYS,
    best_f1_score,
    match,
    per_image,
)
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.coco_files import read_truth
from tests.pinet_jax.evaluation.crowds import make_crowd


def evaluated(dataset, results):
    dataset = read_truth(dataset, "coco", COCO_17)
    return evaluate_coco(dataset, check_results(results, dataset, COCO_17), COCO_17)


def figures(evaluation):
    return [np.nan if f is None else f for f in (evaluation.metrics[key] for key in SUMMARY_KEYS)]


def only(dataset, results, ids):
    part = {
        **dataset,
        "images": [image for image in dataset["images"] if image["id"] in ids],
        "annotations": [p for p in dataset["annotations"] if p["image_id"] in ids],
    }
    return part, [result for result in results if result["image_id"] in ids]


@pytest.mark.parametrize("seed", range(10))
def test_the_whole_set(seed):
    evaluation = evaluated(*make_crowd(COCO_17, seed=seed))
    np.testing.assert_allclose(evaluation.matches.summary(), figures(evaluation), atol=1e-12)
    precision, _ = evaluation.matches.precision_recall()
    np.testing.assert_allclose(precision, evaluation.precision, atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_part_of_the_images(seed):
    dataset, results = make_crowd(COCO_17, seed=seed)
    matches = evaluated(dataset, results).matches
    mask = np.random.default_rng(seed).uniform(size=len(matches.image_ids)) < 0.4
    part = evaluated(*only(dataset, results, set(matches.image_ids[mask].tolist())))
    np.testing.assert_allclose(matches.subset(mask).summary(), figures(part), atol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_weights_are_copies_of_images(seed):
    dataset, results = make_crowd(COCO_17, images=6, seed=seed)
    weights = np.array([0, 1, 2, 3, 0, 1])
    copies = {"images": [], "annotations": [], "categories": dataset["categories"]}
    poses = []
    for image, times in zip(dataset["images"], weights, strict=True):
        for number in range(times):
            new_id = 10 * image["id"] + number
            part, found = copy.deepcopy(only(dataset, results, {image["id"]}))
            copies["images"].append({**part["images"][0], "id": new_id})
            for person in part["annotations"]:
                place = {"image_id": new_id, "id": len(copies["annotations"]) + 1}
                copies["annotations"].append(person | place)
            poses += [pose | {"image_id": new_id} for pose in found]
    expected = figures(evaluated(copies, poses))
    weighted = evaluated(dataset, results).matches.summary(weights)
    np.testing.assert_allclose(weighted, expected, atol=1e-12)


def test_single_images():
    dataset, results = make_crowd(COCO_17, seed=1)
    precision, oks = per_image(evaluated(dataset, results).matches)
    for index, image in enumerate(dataset["images"]):
        alone = evaluated(*only(dataset, results, {image["id"]}))
        np.testing.assert_allclose(precision[index], figures(alone)[0], atol=1e-12)
        assert np.isnan(oks[index]) == np.isnan(precision[index])
    assert np.nanmax(oks) <= 1


def match_one_by_one(oks, ignored, crowd):
    """The rule as it reads: a slow twin."""
    found = np.full((len(OKS_THRESHOLDS), len(oks)), -1)
    for t, threshold in enumerate(OKS_THRESHOLDS):
        taken = set()
        for d, row in enumerate(oks):
            best = -1
            for g in sorted(range(len(row)), key=lambda g: ignored[g]):
                if g in taken and not crowd[g]:
                    continue
                if best >= 0 and not ignored[best] and ignored[g]:
                    break
                if row[g] >= (threshold if best < 0 else row[best]):
                    best = g
            if best >= 0:
                found[t, d] = best
                taken.add(best)
    return found


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(0, 5))
def test_matching_by_the_rule(seed, poses, people):
    rng = np.random.default_rng(seed)
    oks = rng.integers(0, 21, (poses, people)) / 20  # coarse, so that ties and thresholds are hit
    crowd = rng.uniform(size=people) < 0.3
    ignored = crowd | (rng.uniform(size=people) < 0.3)
    expected = match_one_by_one(oks, ignored, crowd)
    np.testing.assert_array_equal(match(oks, ignored, crowd), expected)


def test_best_f1_score_cuts_where_the_false_ones_begin():
    dataset, results = make_crowd(COCO_17, seed=2)
    matches = evaluated(dataset, results).matches
    order = np.argsort(matches.person[0] < 0, kind="stable")  # all hits before all others
    ideal = dataclasses.replace(
        matches,
        score=np.linspace(1, 0, len(matches.score)),
        person=matches.person[:, order],
        ignored=np.zeros_like(matches.ignored),
    )
    hits = np.count_nonzero(ideal.person[0] >= 0)
    assert best_f1_score(ideal) == ideal.score[hits - 1]
    nobody = dataclasses.replace(matches, person=np.full_like(matches.person, -1))
    assert best_f1_score(nobody) == 0
