"""`rescore`: DEKR's network that scores poses, trained on poses of known OKS."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from experiments.commands.rescore import main
from experiments.training.rescoring import RescoringTraining, train_rescoring
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.coco import best_oks
from pinet_jax.inference import Predictor
from pinet_jax.methods.dekr import DEKR
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.rescoring import COCO_RESCORING, Rescoring, rescoring_of
from pinet_jax.skeletons import COCO_17, Skeleton
from tests.tiny import MICRO, lively_variables

AREA = 40.0**2
HANDS = Skeleton("hands", ("wrist", "thumb", "tip"), (), (0.05, 0.05, 0.05), ((0, 1), (1, 2)))


def person(number, image, points, **changes):
    keypoints = np.concatenate([points, np.full((17, 1), 2)], axis=1)
    box = [*points.min(axis=0).tolist(), 60.0, 60.0]
    return {
        "id": number, "image_id": image, "category_id": 1, "iscrowd": 0, "area": AREA, "bbox": box,
        "keypoints": keypoints.ravel().tolist(), "num_keypoints": 17,
    } | changes  # fmt: skip


def pose(image, points, score, keypoint_score=0.5):
    keypoints = np.concatenate([points, np.full((17, 1), keypoint_score)], axis=1)
    return {
        "image_id": image,
        "category_id": 1,
        "keypoints": keypoints.ravel().tolist(),
        "score": score,
    }


def truth(people):
    return {
        "images": [
            {"id": i, "width": 200, "height": 200, "file_name": f"{i}.jpg"} for i in (1, 2, 3)
        ],
        "annotations": people,
        "categories": [{"id": 1, "name": "person", "keypoints": list(COCO_17.keypoints)}],
    }


def oks_of_shift(pixels):
    return np.exp(-(pixels**2) / (2 * AREA * (2 * np.array(COCO_17.sigmas)) ** 2)).mean()


def moved(pixels):
    return POINTS + np.array([pixels, 0])


POINTS = np.random.default_rng(0).uniform(20, 80, (17, 2))


def test_a_pose_is_compared_with_the_person_whom_it_fits_best():
    unlabelled = {"num_keypoints": 0, "keypoints": [0.0] * 51}
    people = [
        person(1, 1, POINTS),
        person(2, 1, moved(9)),
        person(3, 2, POINTS, iscrowd=1),
        person(4, 2, POINTS, **unlabelled),
    ]
    # Of rising scores, as the tool sorts them the other way round; more than it counts of an image.
    poses = [
        pose(1, moved(3), 0.1),
        pose(2, POINTS, 0.2),
        pose(1, moved(11), 0.3),
        pose(3, POINTS, 0.4),
        pose(1, POINTS, 0.5),
        *(pose(1, POINTS + 90, 0.6) for _ in range(25)),
    ]
    found = best_oks(truth(people), poses, COCO_17)
    expected = [oks_of_shift(3), 0, oks_of_shift(2), 0, 1]
    np.testing.assert_allclose(found[:5], expected, atol=1e-9)
    assert found[5:].max() < 1e-3


def test_it_learns_how_good_poses_are():
    random = np.random.default_rng(1)
    keypoints = random.uniform(0, 100, (3000, 17, 3))
    keypoints[..., 2] = random.uniform(0, 1, (3000, 1)) * random.uniform(0.9, 1, (3000, 17))
    oks = keypoints[..., 2].mean(axis=1)
    recipe = RescoringTraining(epochs=30, batch_size=128)
    params, errors = train_rescoring(COCO_RESCORING, keypoints[:2000], oks[:2000], recipe)
    assert errors.shape == (30,) and errors[-1] < 0.2 * oks.var() < errors[0]
    told = Rescoring(COCO_RESCORING).apply({"params": params}, keypoints[2000:].astype(np.float32))
    assert np.corrcoef(told, oks[2000:])[0, 1] > 0.9


def test_fewer_poses_than_a_batch_are_one():
    _, errors = train_rescoring(COCO_RESCORING, np.ones((3, 17, 3)), np.ones(3))
    assert errors[-1] < errors[0]


def test_own_keypoints_are_read_by_their_limbs():
    config = rescoring_of(HANDS)
    assert (config.links, config.reference_links) == (((0, 1), (1, 2)), (0, 1))
    assert rescoring_of(COCO_17) is COCO_RESCORING


@pytest.fixture
def files(tmp_path):
    """A checkpoint, poses and annotations."""
    dekr = DEKR(backbone=MICRO, offset_channels=3)
    save_model(tmp_path / "dekr", dekr, lively_variables(dekr))
    poses = [pose(1, POINTS + shift, 0.5, 1 / (1 + shift)) for shift in range(30)]
    (tmp_path / "r.json").write_text(json.dumps(poses))
    (tmp_path / "a.json").write_text(json.dumps(truth([person(1, 1, POINTS)])))
    return {
        "checkpoint": tmp_path / "dekr",
        "results": tmp_path / "r.json",
        "annotations": tmp_path / "a.json",
        "out": tmp_path / "rescored",
    }


def test_the_new_checkpoint_differs_in_scores_alone(files, capsys):
    main(**files)
    assert capsys.readouterr().out.startswith("30 poses, OKS 0.")
    before, after = load_model(files["checkpoint"]), load_model(files["out"])
    assert after.method == dataclasses.replace(before.method, rescoring=COCO_RESCORING)
    kept = dict(after.variables["params"])
    network = kept.pop("rescoring")
    jax.tree.map(np.testing.assert_array_equal, kept, dict(before.variables["params"]))
    image = np.random.default_rng(2).integers(0, 255, (64, 64, 3), np.uint8)
    inference = dataclasses.replace(before.inference, input_size=64)
    old, new = (
        Predictor(model.method, model.variables, inference).predict(image)
        for model in (before, after)
    )
    assert len(old.scores) > 1
    before_it = zip(old.keypoints, old.scores, strict=True)
    score_of = {tuple(points.ravel()): score for points, score in before_it}
    factors = Rescoring(COCO_RESCORING).apply({"params": network}, new.keypoints)
    for points, factor, score in zip(new.keypoints, factors, new.scores, strict=True):
        np.testing.assert_allclose(score, factor * score_of[tuple(points.ravel())], rtol=1e-4)


def test_what_cannot_be_trained_is_one_line(files, tmp_path):
    save_model(tmp_path / "pinet", PINet(backbone=MICRO), lively_variables(PINet(backbone=MICRO)))
    with pytest.raises(UsageError, match=r"--checkpoint .*pinet: holds a PINet; DEKR alone"):
        main(**files | {"checkpoint": tmp_path / "pinet"})
    (tmp_path / "none.json").write_text("[]")
    with pytest.raises(InputError, match=r"none.json: has no poses"):
        main(**files | {"results": tmp_path / "none.json"})
    with pytest.raises(UsageError, match=r"--out .*dekr: exists already"):
        main(**files | {"out": files["checkpoint"]})
    with pytest.raises(UsageError, match=r"epochs 0: use 1 or more"):
        RescoringTraining(epochs=0)
