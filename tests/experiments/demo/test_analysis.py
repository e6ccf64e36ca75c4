"""What the demo shows, against the predictor that tests the same network."""

import dataclasses
import shutil

import cv2
import numpy as np
import pytest

from experiments.demo.analysis import Analyst, Switches
from experiments.demo.drawing import (
    keypoint_table,
    person_picture,
    result_entries,
    steps,
    whole_picture,
)
from pinet_jax.errors import InputError
from pinet_jax.images import decode_image, read_image
from pinet_jax.inference import Predictor
from pinet_jax.interop.model_files import Model
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.methods.simple_baseline import SimpleBaseline
from pinet_jax.networks.refinement import RefinementConfig
from tests.tiny import BACKBONE, lively_variables

METHOD = PINet(backbone=BACKBONE, refinement=RefinementConfig(blocks=1))
INFERENCE = PINetInference(input_size=64, flip=False, area_exponent=0.3)


@pytest.fixture(scope="module")
def variables():
    return lively_variables(METHOD)


@pytest.fixture(scope="module")
def analyst(variables):
    return Analyst(Model(METHOD, variables, INFERENCE))


@pytest.fixture(scope="module")
def photograph(tmp_path_factory):
    return picture_file(tmp_path_factory.mktemp("photograph") / "a.png", (120, 90))


def picture_file(path, size):
    coarse = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    cv2.imwrite(str(path), cv2.resize(coarse, size))
    return path


@pytest.mark.parametrize(
    "switches",
    [
        Switches(flip=False),
        Switches(flip=False, refinement=False),
        Switches(flip=False, fusion=False, oks_threshold=0.3),
    ],
)
def test_the_people_are_the_predictors(analyst, variables, photograph, switches):
    analysis = analyst.analyze(analyst.look(photograph, switches.flip), switches)
    inference = dataclasses.replace(INFERENCE, **dataclasses.asdict(switches))
    wanted = Predictor(METHOD, variables, inference).predict(read_image(photograph))
    assert len(wanted.scores) > 1
    np.testing.assert_allclose(analysis.scores, wanted.scores, rtol=1e-4)
    np.testing.assert_allclose(analysis.keypoints, wanted.keypoints, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("refinement", [True, False])
def test_every_keypoint_is_its_candidates(analyst, photograph, refinement):
    switches = Switches(flip=False, refinement=refinement, oks_threshold=0.1)
    analysis = analyst.analyze(analyst.look(photograph, False), switches)
    candidates = analysis.candidates["refined" if refinement else "coarse"]
    assert max(map(len, analysis.members)) > 1
    taken = np.concatenate(analysis.members)
    assert len(set(taken.tolist())) == len(taken)  # nobody is two people's
    for person, members in enumerate(analysis.members):
        sources = analysis.sources[person]
        assert set(sources.tolist()) <= set(members.tolist())
        own = candidates[sources, np.arange(17)]
        np.testing.assert_array_equal(own, analysis.keypoints[person])
        best = candidates[members, :, 2].max(axis=0)
        np.testing.assert_array_equal(own[:, 2], best)


def test_candidates_come_from_the_part_whose_map_has_them(analyst, photograph):
    look = analyst.look(photograph, False)
    count = len(look.parts) // 3
    np.testing.assert_array_equal(look.parts, np.repeat([0, 1, 2], count))


def test_a_photograph_is_looked_at_once(analyst, photograph):
    assert analyst.look(photograph, False) is analyst.look(photograph, False)


def test_a_photograph_in_use_is_remembered(analyst, photograph, tmp_path):
    look = analyst.look(photograph, False)
    for number in range(20):
        analyst.look(shutil.copy(photograph, tmp_path / f"{number}.png"), False)
        assert analyst.look(photograph, False) is look


def test_another_frame_size_compiles_nothing(analyst, photograph):
    look, switches = analyst.look(photograph, False), Switches(flip=False)
    small = analyst.analyze(look, switches)
    compiled = Analyst._group._cache_size()
    larger = dataclasses.replace(look, frame_area=2 * look.frame_area)
    scores = analyst.analyze(larger, switches).scores
    assert Analyst._group._cache_size() == compiled
    np.testing.assert_allclose(scores, small.scores * 0.5**0.3, rtol=1e-5)


def test_a_large_photograph_is_drawn_small_and_downloaded_whole(analyst, tmp_path):
    look = analyst.look(picture_file(tmp_path / "large.png", (2000, 1500)), False)
    assert look.size == (2000, 1500)
    assert look.view.shape == (768, 1024, 3)
    switches = Switches(flip=False)
    analysis = analyst.analyze(look, switches)
    for step in steps(look, analysis, METHOD, switches, 0.0):
        assert step.picture.shape == look.view.shape
    whole = decode_image(whole_picture(look, analysis, METHOD, 0.0), "whole")
    assert whole.shape == (1500, 2000, 3)
    # The same people on both: what is drawn darkens and colours the same places.
    drawn = steps(look, analysis, METHOD, switches, 0.0)[2].picture
    shrunk = cv2.resize(whole, (1024, 768), interpolation=cv2.INTER_AREA)
    changed = np.abs(drawn.astype(int) - look.view).max(axis=-1) > 60
    assert changed.any()
    assert (np.abs(shrunk.astype(int) - look.view).max(axis=-1)[changed] > 20).mean() > 0.9


def test_pictures_and_table(analyst, photograph):
    look = analyst.look(photograph, False)
    switches = Switches(flip=False)
    analysis = analyst.analyze(look, switches)
    threshold = float(analysis.scores[1])
    drawn = steps(look, analysis, METHOD, switches, threshold)
    assert [step.caption.split(":")[0] for step in drawn] == ["coarse", "refined", "fused"]
    assert drawn[2].caption == "fused: 2 people"
    for step in drawn:
        assert step.picture.shape == look.view.shape
        assert (step.picture != look.view).any()
    bare = Switches(flip=False, refinement=False, fusion=False)
    nothing = steps(look, analysis, METHOD, bare, np.inf)
    assert [step.caption for step in nothing[1:]] == ["refined: not used", "best ones: 0 people"]
    for step in nothing:
        np.testing.assert_array_equal(step.picture, look.view)
    assert person_picture(look, analysis, METHOD, 0, "refined").size > 0

    table = keypoint_table(analysis, METHOD, 0)
    assert [row[0] for row in table] == list(METHOD.skeleton.keypoints)
    assert {row[4] for row in table} <= {"head", "body", "leg"}
    assert all(1 <= row[5] <= len(analysis.members[0]) for row in table)

    entries = result_entries(look, analysis, threshold)
    assert {entry["image_id"] for entry in entries} == {"a.png"}  # as in `predict`
    assert [entry["score"] for entry in entries] == pytest.approx(analysis.scores[:2].tolist())


def test_another_method_is_refused():
    method = SimpleBaseline()
    with pytest.raises(InputError, match="how PINet finds people; use `predict` for SimpleBase"):
        Analyst(Model(method, {}, method.inference_type()))
