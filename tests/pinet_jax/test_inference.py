"""The whole test procedure against the reference's, and what must not change its answer."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from pinet_jax import decoding
from pinet_jax.errors import InputError
from pinet_jax.frames import FrameBatch
from pinet_jax.inference import Predictor, infer
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.methods.base import InferenceConfig, abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.inputs import normalize
from pinet_jax.skeletons import COCO_17
from tests.conftest import golden
from tests.tiny import MICRO
from tests.weights_rule import CONFIGS, state_dict

SCALE_DECREASE = {"ochuman": 0.9, "coco": 0.9, "crowdpose": 0.8}


@functools.cache
def variables(dataset):
    return from_state_dict(state_dict(dataset), CONFIGS[dataset])


@functools.cache
def predicted(dataset):
    """All stages on the golden image, and without fusion."""
    figures = golden(f"predict_{dataset}.npz")
    config = PINetInference(
        input_size=int(figures["input_size"]),
        scales=tuple(figures["scales"].tolist()),
        scale_decrease=SCALE_DECREASE[dataset],
    )
    predictor = Predictor(CONFIGS[dataset], variables(dataset), config)
    return predictor.predict_stages([figures["image"]])[0]


def assert_same_poses(poses, keypoints, scores):
    """Within 0.05 px; scores within 1e-3, relative where above 1."""
    assert poses.keypoints.shape == keypoints.shape
    np.testing.assert_allclose(poses.keypoints[..., :2], keypoints[..., :2], rtol=0, atol=0.05)
    for actual, expected in ((poses.keypoints[..., 2], keypoints[..., 2]), (poses.scores, scores)):
        error = np.abs(actual - expected) / np.maximum(np.abs(expected), 1)
        assert error.max() < 1e-3


@pytest.mark.parametrize("dataset", CONFIGS)
def test_candidates_are_the_references(dataset):
    figures = golden(f"predict_{dataset}.npz")
    assert_same_poses(
        predicted(dataset)["refined"], figures["candidates"], figures["candidate_scores"]
    )


@pytest.mark.parametrize("dataset", CONFIGS)
def test_fused_poses_are_the_references(dataset):
    figures = golden(f"predict_{dataset}.npz")
    assert_same_poses(predicted(dataset)["final"], figures["poses"], figures["scores"])


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("dataset", ["crowdpose"])
def test_decoded_poses_are_the_references(dataset, flip):
    """In feature-map pixels, before scores and fusion."""
    figures = golden(f"network_{dataset}.npz")
    image = figures["image"]
    config = PINetInference(input_size=64, flip=flip)
    predictor = Predictor(CONFIGS[dataset], variables(dataset), config)
    stages = predictor.run(FrameBatch((image[None],), np.zeros((1, 2, 3), np.float32)))
    kind = "flip" if flip else "plain"
    refined = stages["refined"]
    keypoints = refined.keypoints[0][refined.mask[0]] / 4
    np.testing.assert_allclose(keypoints[..., :2], figures[f"decode_{kind}_pose"], atol=0.0125)


def test_averaged_heatmaps_are_the_references():
    dataset = "crowdpose"
    figures = golden(f"network_{dataset}.npz")
    model, swap = CONFIGS[dataset].network(), list(CONFIGS[dataset].skeleton.mirror_permutation)
    image = normalize(figures["image"][None])
    both = np.concatenate([image, decoding.mirror_images(image)])
    heatmap = np.asarray(model.apply(variables(dataset), both).maps.heatmap)
    averaged = (heatmap[:1] + heatmap[1:, :, ::-1][..., swap]) / 2
    expected = figures["decode_flip_heatmap"]
    np.testing.assert_allclose(averaged, expected, atol=1e-4 * np.abs(expected).max())


MICRO_CONFIG = PINet(COCO_17, backbone=MICRO)


@functools.cache
def micro(devices=None, **changes):
    """A micro network whose maps have peaks, since its heads are random."""
    weights = init_variables(MICRO_CONFIG)
    rng = np.random.default_rng(0)
    randomised = {
        "params": _randomised(weights["params"], rng),
        "batch_stats": weights["batch_stats"],
    }
    config = dataclasses.replace(PINetInference(input_size=64), **changes)
    return Predictor(MICRO_CONFIG, randomised, config, devices)


def _randomised(tree, rng):
    return {
        name: _randomised(node, rng)
        if isinstance(node, dict)
        else rng.normal(size=node.shape).astype(np.float32) * np.sqrt(2 / max(node[..., 0].size, 1))
        if name == "kernel"
        else node
        for name, node in tree.items()
    }


def images(*sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3)).astype(np.uint8) for size in sizes]


def test_neighbours_in_a_batch_and_padding_change_nothing():
    pictures = images((70, 90), (75, 100), (64, 80))
    predictor = micro()
    together = predictor.predict_batch(pictures, batch_size=4)
    for picture, poses in zip(pictures, together, strict=True):
        alone = predictor.predict(picture)
        assert len(alone.scores) > 3
        (xy, score), (expected_xy, expected_score) = (
            np.split(found.keypoints, [2], axis=-1) for found in (poses, alone)
        )
        # Random weights throw keypoints hundreds of pixels far: 1e-5 of that.
        size = np.abs(expected_xy).max()
        np.testing.assert_allclose(xy, expected_xy, rtol=0, atol=1e-5 * size)
        # A score changes with its place: on random maps 1e-4 px move it by as much of the largest.
        largest = np.abs(expected_score).max()
        np.testing.assert_allclose(score, expected_score, rtol=0, atol=1e-4 * largest)
        np.testing.assert_allclose(poses.scores, alone.scores, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("count", [3, 11])
def test_eight_devices_find_what_one_finds(count):
    """Bit by bit, also where they cannot share the images evenly, or some have none."""
    pictures = images(*[(70 + i, 90 + i) for i in range(count)])
    together = micro(devices=tuple(jax.devices())).predict_stages(pictures)
    share = -(-count // 8)
    alone = [
        stages
        for first in range(0, count, share)
        for stages in micro().predict_stages(pictures[first : first + share], share)
    ]
    for found, expected in zip(together, alone, strict=True):
        for name, poses in expected.items():
            assert len(poses.scores) > 3
            np.testing.assert_array_equal(found[name].keypoints, poses.keypoints)
            np.testing.assert_array_equal(found[name].scores, poses.scores)


def test_every_device_has_its_share_of_a_batch():
    predictor = micro(devices=tuple(jax.devices()))
    (batch,) = predictor.prepare(images(*[(64, 64)] * 11), batch_size=13).batches
    assert [x.shape for x in batch.pixels] == [(16, 64, 64, 3)]
    assert not batch.pixels[0][11:].any()
    placed = predictor.program(batch)["final"].scores
    assert {shard.data.shape[0] for shard in placed.addressable_shards} == {2}
    assert len({shard.device for shard in placed.addressable_shards}) == 8


def test_poses_without_fusion_are_candidates_and_fewer():
    picture = images((70, 90))
    stages = micro(fusion=False).predict_stages(picture)[0]
    assert 0 < len(stages["final"].scores) <= len(stages["refined"].scores)
    for keypoints in stages["final"].keypoints:
        assert (stages["refined"].keypoints == keypoints).all(axis=(1, 2)).any()
    fused = micro().predict(picture[0])
    assert len(fused.scores) == len(stages["final"].scores)
    # Two programs, which round differently: 1e-6 of scores of hundreds.
    unfused = stages["final"].scores
    assert (fused.scores >= unfused - 1e-6 * np.abs(unfused).max()).all()


def test_without_refinement_coarse_poses_are_fused():
    picture = images((70, 90))
    stages = micro(refinement=False).predict_stages(picture)[0]
    coarse = micro().predict_stages(picture)[0]["coarse"].keypoints
    np.testing.assert_array_equal(stages["refined"].keypoints, stages["coarse"].keypoints)
    np.testing.assert_allclose(stages["refined"].keypoints, coarse, rtol=1e-5, atol=1e-2)


def test_poses_come_best_first_before_fusion():
    scores = micro(fusion=False).predict(images((70, 90))[0]).scores
    assert (np.diff(scores) <= 0).all()


def test_scores_grow_with_a_power_of_the_poses_share_of_the_frame():
    picture = images((64, 64))[0]  # its frame has its pixels
    plain, weighted = (micro(area_exponent=p).predict(picture) for p in (0.0, 0.5))
    assert (np.diff(weighted.scores) <= 0).all()
    extent = np.ptp(plain.keypoints[..., :2], axis=1)  # [N, 2]
    expected = plain.scores * np.sqrt(extent.prod(axis=-1) / (0.1 * 64 * 64))
    order = np.argsort(-expected, kind="stable")
    np.testing.assert_allclose(weighted.scores, expected[order], rtol=1e-4)
    np.testing.assert_allclose(weighted.keypoints, plain.keypoints[order], rtol=1e-4, atol=1e-3)


def test_the_order_of_scales_does_not_matter():
    picture = images((64, 64))[0]
    first = micro(scales=(0.5, 1.0)).predict(picture)
    second = micro(scales=(1.0, 0.5)).predict(picture)
    np.testing.assert_array_equal(first.keypoints, second.keypoints)


def test_a_black_image_has_finite_poses_or_none():
    poses = micro().predict(np.zeros((64, 64, 3), np.uint8))
    assert np.isfinite(poses.keypoints).all() and np.isfinite(poses.scores).all()


def test_bfloat16_stays_near_float32():
    picture = images((70, 90))[0]
    scores = [micro(bfloat16=b).predict(picture).scores[:1] for b in (False, True)]
    np.testing.assert_allclose(*scores, rtol=0.1)


def test_images_of_different_sizes_are_no_batch():
    with pytest.raises(InputError, match="one resized shape"):
        micro().predict_batch(images((64, 64), (64, 200)))


def test_more_images_than_a_batch_takes_are_several_batches():
    pictures = images((64, 64), (70, 70), (64, 64))
    one_by_one = micro().predict_batch(pictures, batch_size=1)
    assert len(micro().prepare(pictures, 2).batches) == 2
    for found, expected in zip(one_by_one, map(micro().predict, pictures), strict=True):
        np.testing.assert_array_equal(found.keypoints, expected.keypoints)


def test_another_methods_test_procedure_is_refused():
    with pytest.raises(TypeError, match="PINetInference"):
        Predictor(MICRO_CONFIG, init_variables(MICRO_CONFIG), InferenceConfig())


@pytest.mark.parametrize(
    "wrong",
    [{"scales": (0.5, 2.0)}, {"scales": (1.0, 0.3)}, {"scales": (1.0, 1.0)}, {"input_size": 0}],
)
def test_settings_that_fit_no_input_are_refused(wrong):
    with pytest.raises(InputError, match=r"^(scales|input_size)"):
        PINetInference(**wrong)


def test_a_program_for_an_accelerator_has_no_barriers_of_a_cpu():
    """The whole test procedure, lowered here for others."""
    procedure = functools.partial(infer, MICRO_CONFIG, PINetInference(input_size=64))
    frames = FrameBatch(
        (jax.ShapeDtypeStruct((1, 64, 64, 3), np.uint8),),
        jax.ShapeDtypeStruct((1, 2, 3), np.float32),
    )
    traced = jax.jit(procedure).trace(abstract_variables(MICRO_CONFIG, folded=True), frames)
    barriers = {
        platform: traced.lower(lowering_platforms=(platform,)).as_text().count("barrier")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert barriers["cpu"] > 50
    assert barriers["cuda"] == barriers["tpu"] == 0
