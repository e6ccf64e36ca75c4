"""Rescoring and OKS-NMS, against the released code's figures and a slow twin."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.annotations import check_results
from experiments.testing.ground_truth import read_ground_truth
from pinet_jax.evaluation.result_files import pose_entries
from pinet_jax.evaluation.summary import evaluate
from pinet_jax.poses import PoseSet
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from pinet_jax.suppression import rescore, suppress_by_oks
from tests.conftest import shared_data
from tests.topdown import figures

ROOM = 24  # poses that all cases are padded to


def padded(array):
    rows = [(0, ROOM - len(array))] + [(0, 0)] * (np.ndim(array) - 1)
    return jnp.asarray(np.pad(array, rows), jnp.float32)


def kept_keypoints(keypoints, scores, area, sigmas):
    mask = jnp.arange(ROOM) < len(keypoints)
    poses = PoseSet(padded(keypoints), padded(scores), mask)
    kept = suppress_by_oks(poses, padded(area), sigmas)
    return np.asarray(kept.keypoints)[np.asarray(kept.mask)]


@pytest.mark.parametrize("skeleton", [COCO_17, CROWDPOSE_14], ids=lambda s: s.name)
@pytest.mark.parametrize("case", range(6))
def test_golden_cases(skeleton, case):
    prefix = f"k{skeleton.num_keypoints}_{case}_"
    golden = {
        key.removeprefix(prefix): array
        for key, array in figures("sb_nms").items()
        if key.startswith(prefix)
    }
    keypoints = golden["keypoints"]
    scores = golden["box_score"] * np.asarray(rescore(jnp.asarray(keypoints[..., 2])))
    np.testing.assert_allclose(scores, golden["score"], rtol=1e-5, atol=1e-6)
    kept = kept_keypoints(keypoints, scores, golden["area"], skeleton.sigmas)
    np.testing.assert_array_equal(kept, keypoints[golden["keep"]])


def slow_suppression(keypoints, scores, area, sigmas, threshold=0.9):
    """Pose by pose, in double precision."""
    left, kept = sorted(range(len(scores)), key=lambda i: (scores[i], i), reverse=True), []
    while left:
        best, *left = left
        kept.append(best)

        def similarity(other, best=best):
            distance = ((keypoints[other, :, :2] - keypoints[best, :, :2]) ** 2).sum(axis=-1)
            spread = 2 * (2 * np.array(sigmas)) ** 2 * (area[other] + area[best]) / 2
            return np.exp(-distance / spread).mean()

        left = [other for other in left if similarity(other) <= threshold]
    return kept


def test_chains_of_similar_poses_as_pose_by_pose():
    rng = np.random.default_rng(1)
    base = rng.uniform(0, 200, (1, 17, 2))
    points = base + 6 * np.arange(20)[:, None, None] * rng.uniform(0, 0.4, (20, 1, 2))
    keypoints = np.concatenate([points, np.ones((20, 17, 1))], axis=-1).astype(np.float32)
    scores = rng.permutation(20).astype(np.float32)
    scores[3] = scores[11]  # of equal scores the later one comes first
    area = np.full(20, 2e4)
    expected = slow_suppression(keypoints, scores, area, COCO_17.sigmas)
    assert 1 < len(expected) < 20
    kept = kept_keypoints(keypoints, scores, area, COCO_17.sigmas)
    np.testing.assert_array_equal(kept, keypoints[expected])


def test_a_person_without_a_sure_keypoint_has_score_0():
    assert rescore(jnp.full((1, 17), 0.2))[0] == 0


def test_released_results_and_their_figures():
    """The released code's evaluation of noisy poses on real annotations, to the last digit."""
    annotations = shared_data("coco", "annotations", "person_keypoints_val2017.json")
    golden = figures("sb_evaluate_coco")
    boxes = golden["boxes_cx_cy_sx_sy_area_score"]
    results, kept = [], []
    for image_id in dict.fromkeys(golden["image_id"].tolist()):
        chosen = golden["image_id"] == image_id
        keypoints, area, box_scores = golden["preds"][chosen], *boxes[chosen, 4:].T
        scores = box_scores * np.asarray(rescore(jnp.asarray(keypoints[..., 2])))
        mask = jnp.arange(ROOM) < len(keypoints)
        poses = PoseSet(padded(keypoints), padded(scores), mask)
        people = suppress_by_oks(poses, padded(area), COCO_17.sigmas)
        mask = np.asarray(people.mask)
        kept += [image_id] * mask.sum()
        arrays = np.asarray(people.keypoints)[mask], np.asarray(people.scores)[mask]
        results += pose_entries(image_id, *arrays)
    np.testing.assert_array_equal(kept, golden["result_image_id"])
    np.testing.assert_allclose([r["score"] for r in results], golden["result_score"], rtol=1e-3)
    dataset = read_ground_truth(annotations, "coco", COCO_17)
    metrics = evaluate(dataset, check_results(results, dataset, COCO_17), "coco", COCO_17).metrics
    suffixes = ("", "50", "75", "_area_medium", "_area_large")
    names = [kind + suffix for kind in ("AP", "AR") for suffix in suffixes]
    found = [metrics[name] for name in names]
    np.testing.assert_allclose(found, golden["stats"], atol=1e-9)
