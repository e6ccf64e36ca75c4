"""The figures: the reference's own, CrowdPose's beside COCO's, and edge cases."""

import copy
import json

import numpy as np
import pytest

from data_pipelines.annotations import check_results
from pinet_jax.evaluation.coco import evaluate_coco
from pinet_jax.evaluation.crowdpose import crowding_levels, evaluate_crowdpose
from pinet_jax.evaluation.dataset import ground_truth
from pinet_jax.evaluation.matching import SUMMARY_KEYS
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import golden_path, shared_data
from tests.data_pipelines.coco_files import read_truth
from tests.pinet_jax.evaluation.crowds import make_crowd


@pytest.fixture(scope="module")
def crowdpose_val():
    path = shared_data("crowdpose", "json", "crowdpose_val.json")
    dataset = read_truth(json.loads(path.read_text()), "crowdpose", CROWDPOSE_14)
    detections = json.loads(golden_path("crowdpose_val_detections.json").read_text())
    return dataset, check_results(detections, dataset, CROWDPOSE_14)


def checked(skeleton, metric, **options):
    dataset, results = make_crowd(skeleton, **options)
    dataset = read_truth(dataset, metric, skeleton)
    return dataset, check_results(results, dataset, skeleton)


def test_crowdpose_gives_the_reference_tools_figures(crowdpose_val):
    dataset, results = crowdpose_val
    recorded = json.loads(golden_path("crowdpose_val_metrics.json").read_text())
    evaluation = evaluate_crowdpose(dataset, results, CROWDPOSE_14)
    assert evaluation.metrics == pytest.approx(recorded, abs=1e-4)


def only(dataset, results, ids):
    """The part of a set that is about some images."""
    part = {
        **dataset,
        "images": [image for image in dataset["images"] if image["id"] in ids],
        "annotations": [p for p in dataset["annotations"] if p["image_id"] in ids],
    }
    return part, [result for result in results if result["image_id"] in ids]


@pytest.mark.parametrize("seed", range(4))
def test_a_levels_figure_is_that_of_its_images_alone(seed):
    dataset, results = checked(CROWDPOSE_14, "crowdpose", seed=seed)
    metrics = evaluate_crowdpose(dataset, results, CROWDPOSE_14).metrics
    for level, ids in crowding_levels(dataset).items():
        alone = evaluate_coco(*only(dataset, results, set(ids)), CROWDPOSE_14).metrics["AP"]
        assert metrics[f"AP_{level}"] == pytest.approx(alone, abs=1e-12)


@pytest.mark.parametrize(
    ("metric", "tool", "skeleton"),
    [("coco", evaluate_coco, COCO_17), ("crowdpose", evaluate_crowdpose, CROWDPOSE_14)],
)
class TestEdgeCases:
    def people(self, skeleton, count, *, first_id=1, image_id=1):
        """People side by side, all keypoints labelled."""
        people = []
        for n in range(count):
            grid = np.indices((5, 5)).reshape(2, -1).T[: skeleton.num_keypoints] * 20.0
            points = np.column_stack([grid[:, 0] + 300 * n, grid[:, 1], np.full(len(grid), 2)])
            people.append(
                {
                    "id": first_id + n,
                    "image_id": image_id,
                    "category_id": 1,
                    "keypoints": points.ravel().tolist(),
                    "num_keypoints": len(points),
                    "bbox": [300 * n, 0, 100, 100],
                    "area": 5300.0,
                    "iscrowd": 0,
                }
            )
        return people

    def score(self, metric, tool, skeleton, people, results, images=(1,)):
        dataset = {
            "images": [{"id": i, "file_name": f"{i}.jpg", "crowdIndex": 0.5} for i in images],
            "annotations": people,
            "categories": [{"id": 1, "name": "person"}],
        }
        dataset = ground_truth(dataset, metric)
        return tool(dataset, check_results(results, dataset, skeleton), skeleton)

    def poses(self, people, score=0.5):
        return [
            {"image_id": p["image_id"], "keypoints": p["keypoints"], "score": score} for p in people
        ]

    def test_perfect_poses_score_one(self, metric, tool, skeleton):
        people = self.people(skeleton, 3)
        metrics = self.score(metric, tool, skeleton, people, self.poses(people)).metrics
        assert [metrics[key] for key in SUMMARY_KEYS] == pytest.approx([1.0] * 6)

    def test_no_detections_score_zero(self, metric, tool, skeleton):
        evaluation = self.score(metric, tool, skeleton, self.people(skeleton, 3), [])
        assert [evaluation.metrics[key] for key in SUMMARY_KEYS] == [0.0] * 6
        assert evaluation.matches.summary().tolist() == [0.0] * 6

    def test_a_set_without_people_has_no_figures(self, metric, tool, skeleton):
        pose = self.poses(self.people(skeleton, 1))
        for results in (pose, []):
            evaluation = self.score(metric, tool, skeleton, [], results)
            assert set(evaluation.metrics.values()) == {None}
            assert np.isnan(evaluation.matches.summary()).all()

    def test_a_pose_in_an_image_without_people_counts_against(self, metric, tool, skeleton):
        people = self.people(skeleton, 1)
        stray = [{**pose, "image_id": 2, "score": 0.9} for pose in self.poses(people)]
        results = self.poses(people) + stray
        metrics = self.score(metric, tool, skeleton, people, results, images=(1, 2)).metrics
        assert metrics["AP"] == pytest.approx(0.5)  # found, but second in rank
        assert metrics["AR"] == pytest.approx(1.0)

    def test_a_person_without_keypoints_counts_for_nothing(self, metric, tool, skeleton):
        people = self.people(skeleton, 2)
        people[1] |= {"keypoints": [0] * 3 * skeleton.num_keypoints, "num_keypoints": 0}
        results = self.poses(self.people(skeleton, 2))  # one of them is near that person's box
        metrics = self.score(metric, tool, skeleton, people, results).metrics
        assert [metrics["AP"], metrics["AR"]] == pytest.approx([1.0, 1.0])

    def test_the_files_num_keypoints_decides_not_a_recount(self, metric, tool, skeleton):
        people = self.people(skeleton, 2)
        people[1]["num_keypoints"] = 0  # although its keypoints are labelled, as in CrowdPose
        metrics = self.score(metric, tool, skeleton, people, self.poses(people[:1])).metrics
        assert metrics["AR"] == pytest.approx(1.0)

    def test_only_the_20_best_poses_of_an_image_count(self, metric, tool, skeleton):
        people = self.people(skeleton, 25)
        evaluation = self.score(metric, tool, skeleton, people, self.poses(people))
        assert evaluation.metrics["AR"] == pytest.approx(20 / 25)
        assert len(evaluation.matches.score) == 20

    def test_inputs_stay_as_they_were(self, metric, tool, skeleton):
        people = self.people(skeleton, 2)
        results = self.poses(people)
        before = copy.deepcopy((people, results))
        self.score(metric, tool, skeleton, people, results)
        assert (people, results) == before


def test_sigmas_come_from_the_skeleton():
    dataset, results = checked(COCO_17, "coco")
    strict = COCO_17.__class__(
        **{**COCO_17.__dict__, "name": "strict", "sigmas": tuple(s / 3 for s in COCO_17.sigmas)}
    )
    usual = evaluate_coco(dataset, results, COCO_17).metrics["AP"]
    assert evaluate_coco(dataset, results, strict).metrics["AP"] < usual


@pytest.mark.parametrize("found", [True, False])
def test_people_are_counted_by_size(found):
    dataset, results = checked(COCO_17, "coco")
    people = dataset["annotations"][:6]
    # Too small, the ends of "medium", large, a crowd, and one without keypoints.
    for person, area in zip(people, (31**2, 32**2, 96**2 - 1, 200**2, 200**2, 200**2), strict=True):
        person |= {"area": float(area), "iscrowd": 0, "num_keypoints": 17}
    people[4]["iscrowd"], people[5]["num_keypoints"] = 1, 0
    evaluation = evaluate_coco({**dataset, "annotations": people}, results * found, COCO_17)
    assert evaluation.people_of == {
        "AP_area_medium": 2, "AP_area_large": 1, "AR_area_medium": 2, "AR_area_large": 1,
    }  # fmt: skip


def test_crowding_levels_need_every_images_index():
    dataset = {"images": [{"id": n, "crowdIndex": c} for n, c in enumerate((0.1, 0.2, 0.79, 0.8))]}
    assert crowding_levels(dataset) == {"easy": [0], "medium": [1, 2], "hard": [3]}
    del dataset["images"][0]["crowdIndex"]
    assert crowding_levels(dataset) == {"easy": [], "medium": [], "hard": []}


def test_crowdpose_set_without_index_has_no_levels():
    dataset, results = checked(CROWDPOSE_14, "crowdpose")
    for image in dataset["images"]:
        del image["crowdIndex"]
    metrics = evaluate_crowdpose(dataset, results, CROWDPOSE_14).metrics
    assert metrics["AP"] > 0
    assert [metrics[f"AP_{level}"] for level in ("easy", "medium", "hard")] == [None] * 3
