"""CID against the released code's figures: maps, whole training steps, the whole test procedure."""

import functools
import math

import jax
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.errors import UsageError
from pinet_jax.frames import FrameBatch
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.networks.cid import CIDNetwork
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.initializers import draw_variables
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import compiler_options
from tests import baselines
from tests.conftest import golden

MICRO = HRNetConfig(
    stem_width=8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1,), blocks=1
)
FOLDER = "baselines/cid"
GAINS = {
    "iia.keypoint_center_conv.weight": 0.2,
    "gfd.conv_down.weight": 0.2,
    "gfd.c_attn.atn.weight": 0.2,
    "gfd.s_attn.atn.weight": 0.05,
}


@functools.cache
def state():
    return baselines.state_dict(f"{FOLDER}/state_dict_cid_w32_coco.json", GAINS.items())


@functools.cache
def variables():
    return from_state_dict(state(), CID())


def assert_close(actual, expected, tolerance=1e-4):
    """Up to a part of the map's scale; expected is channel-first."""
    expected = np.moveaxis(expected, -3, -1)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def test_weights_of_the_released_code_come_back_as_they_were():
    back = to_state_dict(variables(), CID())
    assert set(back) == set(state())
    for name, array in state().items():
        np.testing.assert_array_equal(back[name], array)


def test_a_new_networks_maps_begin_at_one_percent():
    method = CID(backbone=MICRO)
    weights = draw_variables(method.network())
    for head in (
        weights["params"]["iia"]["keypoint_center_conv"],
        weights["params"]["gfd"]["heatmap_conv"],
    ):
        np.testing.assert_allclose(head["bias"], -math.log(99), rtol=1e-6)
        assert 0.0005 < head["kernel"].std() < 0.002
    for gate in ("c_attn.atn", "s_attn.atn"):
        assert not weights["params"]["gfd"][gate]["bias"].any()


def test_maps_are_the_references():
    figures = golden(f"{FOLDER}/cid_w32_coco_bn0.4-0.6.npz")
    x = np.random.default_rng(0).normal(size=(1, 3, 128, 192)).astype(np.float32)
    yx = figures["coord_yx"][None].astype(np.int32)

    def run(net, images, yx):
        outputs = net(images)
        return *outputs, net.decouple(outputs.features, yx)

    program = jax.jit(nn.apply(run, CID().network()), compiler_options=compiler_options("cpu"))
    features, logits, own = program(variables(), np.moveaxis(x, 1, -1), yx)
    assert_close(features[:, ::2, ::2, ::8], figures["features_sub"])
    assert_close(logits, figures["multi_logits"])
    assert_close(own[0], figures["instance_logits"])


def test_decoupling_is_the_references_layer_by_layer():
    """In double precision, so that no layer hides behind another one's rounding."""
    figures = golden(f"{FOLDER}/heads_w32_coco.npz")
    features = np.random.default_rng(1).normal(size=(1, 480, 16, 24)) * 2
    yx = figures["coord_yx"][None].astype(np.int32)
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        heads = {"params": jax.tree.map(lambda x: x.astype(np.float64), variables()["params"])}
        own, inner = (
            CID()
            .network()
            .apply(
                heads,
                np.moveaxis(features, 1, -1),
                yx,
                method=CIDNetwork.decouple,
                capture_intermediates=True,
                mutable=["intermediates"],
            )
        )
        layers = {
            name: np.asarray(outputs["__call__"][0])
            for name, outputs in inner["intermediates"]["gfd"].items()
            if isinstance(outputs, dict)
        }
    assert_close(layers["conv_down"], figures["conv_down"], 1e-6)
    np.testing.assert_allclose(layers["c_attn.atn"][0], figures["channel_gate"], atol=1e-6)
    np.testing.assert_allclose(layers["s_attn.atn"][0], figures["spatial_projection"], atol=1e-6)
    gate = 1 / (1 + np.exp(-layers["s_attn.conv"]))
    assert_close(gate, figures["spatial_gate"], 1e-6)
    assert_close(np.maximum(layers["fuse_attn"], 0), figures["fused"], 1e-6)
    assert_close(own[0], figures["instance_logits"], 1e-6)


def found_poses(stage):
    """The poses that count, of one frame."""
    keypoints, scores, mask = jax.device_get(stage)
    return keypoints[0][mask[0]], scores[0][mask[0]]


def assert_same_poses(poses, keypoints, scores, stable=None):
    """The same people in the same order, within 0.05 px and 1e-3 of the score."""
    assert poses[0].shape == keypoints.shape
    error = np.abs(poses[0][..., :2] - keypoints[..., :2]).max(axis=-1)
    assert error[np.ones_like(error, bool) if stable is None else stable].max() < 0.05
    np.testing.assert_allclose(poses[0][..., 2], keypoints[..., 2], rtol=1e-3)
    np.testing.assert_allclose(poses[1], scores, rtol=1e-3)


@functools.cache
def program(inference):
    method = CID()
    network = method.network(Compute(folded=True))
    run = functools.partial(method.poses, inference=inference)
    bound = jax.jit(nn.apply(run, network), compiler_options=compiler_options("cpu"))
    weights = fold_batch_norm(variables())
    return lambda pixels: bound(
        weights, FrameBatch((pixels,), np.zeros((len(pixels), 2, 3), np.float32))
    )


def test_poses_of_noise_are_the_references():
    figures = golden(f"{FOLDER}/cid_w32_coco_bn0.4-0.6.npz")
    x = np.random.default_rng(0).normal(size=(1, 3, 128, 192)).astype(np.float32)
    stages = program(CIDInference())(np.moveaxis(x, 1, -1))
    assert_same_poses(
        found_poses(stages["candidates"]), figures["flip_poses"], figures["flip_scores"]
    )


def test_poses_of_a_photograph_are_the_references():
    figures = golden(f"{FOLDER}/predict_coco.npz")
    stages = program(CIDInference())(figures["resized"][None])
    keypoints, scores = found_poses(stages["candidates"])
    expected, stable = figures["input_poses"], figures["stable_joint"]
    assert_same_poses((keypoints, scores), expected, figures["candidate_scores"], stable)
    keep = figures["keep"]
    assert_same_poses(
        found_poses(stages["final"]),
        expected[keep],
        figures["candidate_scores"][keep],
        stable[keep],
    )


def test_more_than_one_scale_is_refused():
    with pytest.raises(UsageError, match="scale 1 alone"):
        CIDInference(scales=(0.5, 1.0))
    with pytest.raises(UsageError, match="odd number"):
        CIDInference(smoothing=4)


def training_losses(net):
    """Of the golden images and people."""
    figures = golden(f"{FOLDER}/train_coco.npz")

    def padded(name, dtype=np.float64):
        arrays = [figures[f"image{image}_{name}"] for image in range(3)]
        return baselines.padded(arrays, 4, dtype)

    batch = {
        "image": baselines.normalized(
            np.stack([figures[f"image{i}_pixels"] for i in range(3)]), np.float64
        ),
        # Frame pixels; the figures are map pixels.
        "keypoints": padded("keypoints") * np.array([4, 4, 1]),
        "corners": padded("bbox_corners") * 4,
        "area": padded("area"),
        "valid_mask": np.stack([figures[f"image{i}_valid_mask"] for i in range(3)]),
    }
    return CID().jittered_losses(net, batch, padded("jitter_xy", np.int32))


LOSSES = ("heatmap", "instance", "contrastive")


def training_figures():
    """By the names that the other methods' files have."""
    figures = golden(f"{FOLDER}/train_coco.npz")
    steps = [figures[f"train_f64_step{step}_losses"] for step in range(3)]
    renamed = {name.replace("_step0_grad", "_grad"): array for name, array in figures.items()}
    first = {"frozen_f64_losses": figures["frozen_f64_step0_losses"][None]}
    return renamed | first | {"train_f64_losses": steps}


@pytest.mark.slow
def test_losses_and_gradients_are_the_references():
    baselines.assert_same_first_step(
        CID(), training_losses, variables(), LOSSES, training_figures()
    )


@pytest.mark.slow
def test_three_steps_are_the_references():
    baselines.assert_same_three_steps(
        CID(), training_losses, variables(), LOSSES, training_figures()
    )
