"""DEKR against the released code's figures: weights, maps, the test procedure."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.complexity import count_layers
from pinet_jax.errors import InputError, UsageError
from pinet_jax.inference import Predictor
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods.base import abstract_variables
from pinet_jax.methods.dekr import DEKR, DEKRInference
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.hrnet import W48
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.rescoring import COCO_RESCORING
from pinet_jax.runtime import compiler_options
from pinet_jax.skeletons import CROWDPOSE_14
from tests import baselines, tiny
from tests.conftest import golden, shared_data

FOLDER = "baselines/dekr"
CROWDPOSE = DEKR(CROWDPOSE_14, min_center_area=0, center_sigma=2)
MICRO = DEKR(backbone=tiny.MICRO, offset_channels=3)
METHOD = DEKR(rescoring=COCO_RESCORING)


@functools.cache
def pose_state():
    state = baselines.state_dict(f"{FOLDER}/state_dict_dekr_w32_coco.json")
    return state | DEKR().state_dict_constants()


@functools.cache
def variables():
    return from_state_dict(pose_state(), DEKR())


def parameters(method):
    return sum(leaf.size for leaf in jax.tree.leaves(abstract_variables(method)["params"]))


@pytest.mark.parametrize(
    ("method", "count"),
    [
        (DEKR(), 29_561_182),
        (DEKR(backbone=W48), 65_684_590),
        (CROWDPOSE, 29_522_071),
        (DEKR(CROWDPOSE_14, backbone=W48), 65_634_631),
        (METHOD, 29_561_182 + 85_249),
    ],
)
def test_parameters_are_as_many_as_the_released_codes(method, count):
    assert parameters(method) == count


@pytest.mark.parametrize(
    ("method", "size", "billions"),
    [(DEKR(), 512, 45.385), (DEKR(backbone=W48), 640, 141.527), (CROWDPOSE, 512, 44.749)],
)
def test_multiply_adds_are_as_many_as_the_released_codes(method, size, billions):
    program = method.network(Compute(folded=True)).apply
    image = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    counted, _ = count_layers(program, abstract_variables(method, folded=True), image)
    assert round(counted / 1e9, 3) == billions


def test_weights_of_the_released_code_come_back_as_they_were():
    back = to_state_dict(variables(), DEKR())
    assert back.keys() == pose_state().keys()
    for name, array in pose_state().items():
        np.testing.assert_array_equal(back[name], array)


def test_a_file_of_another_network_is_named():
    scores = baselines.state_dict(f"{FOLDER}/state_dict_dekr_rescore_coco.json")
    with pytest.raises(InputError, match=r"pose\.pth.*missing \[.*l1\.bias"):
        from_state_dict(pose_state(), METHOD, where="pose.pth")
    with pytest.raises(InputError, match=r"unexpected \[l1\.weight"):
        from_state_dict(pose_state() | scores, DEKR())
    both = from_state_dict(pose_state() | scores, METHOD)
    np.testing.assert_array_equal(
        both["params"]["rescoring"]["l1"]["kernel"].T, scores["l1.weight"]
    )


def test_what_contradicts_itself_is_refused():
    with pytest.raises(UsageError, match=r"keypoint 16, but crowdpose_14 has 14"):
        DEKR(CROWDPOSE_14, rescoring=COCO_RESCORING)
    with pytest.raises(UsageError, match=r"offset_blocks 0"):
        DEKR(offset_blocks=0)


def assert_close(actual, expected, tolerance=1e-4):
    """Up to a part of the map's scale; expected is channel-first."""
    expected = np.moveaxis(expected, -3, -1)
    actual = np.asarray(actual).reshape(expected.shape)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("folded", [False, True])
def test_maps_are_the_references(folded):
    figures = golden(f"{FOLDER}/dekr_w32_coco_bn0.4-0.6.npz")
    network = DEKR().network(Compute(folded=folded))
    weights = fold_batch_norm(variables()) if folded else variables()
    program = jax.jit(network.apply, compiler_options=compiler_options("cpu"))
    outputs = program(weights, np.moveaxis(figures["x"], 1, -1))
    assert_close(outputs.heatmap, figures["heat"])
    assert_close(outputs.offset, figures["offset"])


@functools.cache
def predict_variables():
    """Weights by the rule, of which four are changed so that people come out."""
    gains = {"head_heatmap.1.weight": 0.2}
    for branch in range(17):
        gains[f"offset_final_layer.{branch}.weight"] = 0.1
        gains[f"offset_final_layer.{branch}.bias"] = 400
    state = baselines.state_dict(f"{FOLDER}/state_dict_dekr_w32_coco.json", gains.items())
    state["head_heatmap.1.bias"] = np.float32([0.3] * 17 + [0.9])
    state |= baselines.state_dict(f"{FOLDER}/state_dict_dekr_rescore_coco.json")
    return from_state_dict(state | METHOD.state_dict_constants(), METHOD)


INFERENCE = {
    "single": DEKRInference(input_size=256),
    "multi": DEKRInference(input_size=256, scales=(0.5, 1.0, 2.0), coincidence=0.15),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", INFERENCE)
def test_poses_of_a_photograph_are_the_references(kind):
    import cv2

    figures = golden(f"{FOLDER}/predict_{kind}_coco.npz")
    image = cv2.imread(str(shared_data(*str(figures["image_file"]).split("/"))))[..., ::-1]
    predictor = Predictor(METHOD, predict_variables(), INFERENCE[kind])
    frame = predictor.prepare([np.ascontiguousarray(image)])
    stages = predictor.run(frame.batches[0])
    candidates = np.asarray(stages["candidates"].keypoints)[0][
        np.asarray(stages["candidates"].mask)[0]
    ]
    scales = sorted(figures["scale_factors"], reverse=True)
    expected = np.concatenate([figures[f"scale{scale:g}_candidates"] for scale in scales])
    assert candidates.shape == expected.shape
    np.testing.assert_allclose(candidates[..., :2], expected[..., :2], rtol=0, atol=0.05)

    (found,) = predictor.predict_prepared(frame)
    order = np.argsort(-figures["scores"], kind="stable")  # ours are best first
    np.testing.assert_allclose(
        found["final"].scores, figures["scores"][order], rtol=1e-3, atol=1e-5
    )
    poses = figures["poses_image"][order]
    np.testing.assert_allclose(found["final"].keypoints[..., :2], poses[..., :2], atol=0.05)
    np.testing.assert_allclose(found["final"].keypoints[..., 2], poses[..., 2], rtol=1e-3)


@functools.cache
def micro():
    """A network that finds somebody, and what it finds in noise."""
    return tiny.lively_variables(MICRO)


def found(inference, method=MICRO):
    image = np.random.default_rng(0).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    weights = micro() if method is MICRO else tiny.lively_variables(method)
    (stages,) = Predictor(method, weights, inference).predict_stages([image])
    return stages


def test_offsets_at_peaks_are_those_of_whole_maps():
    """What the test reads at single positions, the training's maps have there."""

    def both(net, images):
        outputs = net(images)
        yx = jnp.asarray([[[0, 0], [15, 23], [7, 8], [0, 23]]] * 2, jnp.int32)
        return outputs.offset, net.offset(outputs.features, yx), yx

    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype(np.float32)
    network = MICRO.network(Compute(folded=True))
    whole, single, yx = jax.jit(nn.apply(both, network))(fold_batch_norm(micro()), images)
    expected = np.stack([np.asarray(whole)[i][tuple(np.asarray(yx)[i].T)] for i in range(2)])
    np.testing.assert_allclose(single, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_pose_fusion_takes_the_place_of_suppression():
    inference = DEKRInference(input_size=64, fusion=True, oks_threshold=0.3)
    stages = found(inference)
    candidates, final = stages["candidates"], stages["final"]
    assert 0 < len(final.scores) <= len(candidates.scores)
    points = {tuple(point) for point in candidates.keypoints.reshape(-1, 3)}
    assert {tuple(point) for point in final.keypoints.reshape(-1, 3)} <= points
    np.testing.assert_allclose(final.scores, final.keypoints[..., 2].mean(axis=1), rtol=1e-5)
    sizes = {threshold: len(found(DEKRInference(input_size=64, fusion=True,
                                                oks_threshold=threshold))["final"].scores)
             for threshold in (0.0, 1.0)}  # fmt: skip
    assert sizes[0.0] == 1 and sizes[1.0] == len(candidates.scores)


def test_candidates_of_larger_scales_come_first_and_other_scales_score_less():
    stages = found(DEKRInference(input_size=64, scales=(0.5, 1.0), scale_decrease=0.5))
    alone = found(DEKRInference(input_size=64))
    count = len(alone["candidates"].scores)
    np.testing.assert_allclose(
        stages["candidates"].keypoints[:count, :, :2],
        alone["candidates"].keypoints[..., :2],
        atol=1e-2,
    )
    assert len(stages["candidates"].scores) > count
