"""HigherHRNet and AE against figures of the released code, network and whole procedures."""

import dataclasses
import functools
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.frames import Frame, restore_points, stack_frames
from pinet_jax.grouping import Candidates, find_candidates, group_candidates
from pinet_jax.images import read_image
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods.base import abstract_variables
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import compiler_options
from pinet_jax.skeletons import CROWDPOSE_14
from pinet_jax.tag_decoding import adjust, find_people
from tests import baselines
from tests.conftest import golden, shared_data

HIGHER, AE = HigherHRNet(), HigherHRNet(doublings=0)
FILES = {
    HIGHER: "baselines/higherhrnet/state_dict_higherhrnet_w32_coco.json",
    HigherHRNet(CROWDPOSE_14): "baselines/higherhrnet/state_dict_higherhrnet_w32_crowdpose.json",
    AE: "baselines/ae/state_dict_ae_w32_coco.json",
    HigherHRNet(CROWDPOSE_14, doublings=0): "baselines/ae/state_dict_ae_w32_crowdpose.json",
}
TRAIN = "baselines/higherhrnet/train_coco.npz"
AE_TRAIN = "baselines/ae/ae_train_w32_coco_bn0.4-0.6.npz"
LOSSES = ("heatmap_4", "heatmap_2", "push", "pull")


@functools.cache
def variables(method):
    return from_state_dict(baselines.state_dict(FILES[method]), method)


@functools.cache
def maps_program(method):
    return jax.jit(method.network().apply, compiler_options=compiler_options("cpu"))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def test_parameters_are_as_many_as_the_released_codes():
    counts = {
        HIGHER: 28_645_331,
        AE: 28_536_674,
        HigherHRNet(CROWDPOSE_14): 28_641_962,
        HigherHRNet(CROWDPOSE_14, doublings=0): 28_536_476,
        wide(HIGHER): 63_827_139,
        wide(AE): 63_596_578,
    }
    for method, count in counts.items():
        leaves = jax.tree.leaves(abstract_variables(method)["params"])
        assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == count


def wide(method):
    return dataclasses.replace(method, backbone=dataclasses.replace(method.backbone, width=48))


def test_maps_are_the_references():
    figures = golden("baselines/higherhrnet/higherhrnet_w32_512_coco_bn0.4-0.6.npz")
    images = np.random.default_rng(0).normal(size=(1, 3, 128, 192)).astype(np.float32)
    maps = maps_program(HIGHER)(variables(HIGHER), np.moveaxis(images, 1, -1))
    coarse = jnp.concatenate([maps.heatmaps[0], maps.tags], axis=-1)
    assert_close(coarse, np.moveaxis(figures["out0"], 1, -1))
    assert_close(maps.heatmaps[1], np.moveaxis(figures["out1"], 1, -1))


def test_maps_of_ae_are_the_references():
    figures = golden("baselines/ae/ae_network_w32_coco_bn0.4-0.6.npz")
    for key, step in (("output", 1), ("output_on_mirrored_image", -1)):
        images = baselines.normalized(figures["image"][None, :, ::step], np.float32)
        maps = maps_program(AE)(variables(AE), images)
        assert_close(jnp.concatenate([maps.heatmaps[0], maps.tags], axis=-1), figures[key])


@pytest.mark.parametrize("method", FILES, ids=["higher", "higher_crowdpose", "ae", "ae_crowdpose"])
def test_released_files_come_in_and_go_out_unchanged(method):
    state = baselines.state_dict(FILES[method])
    again = to_state_dict(from_state_dict(state, method), method)
    assert sorted(again) == sorted(state)
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)


# Training.


def training_losses(net):
    """Of the golden images and people."""
    figures = golden(TRAIN)
    joints = [figures[f"image{image}_joints32"] for image in range(3)]
    batch = {
        "image": baselines.normalized(figures["images"], np.float64),
        # Frame pixels; the figures are map pixels.
        "keypoints": baselines.padded(joints, 4, np.float64) * np.array([4, 4, 1]),
        "valid_mask": figures["valid_mask32"],
        "fine_valid_mask": figures["valid_mask64"],
    }
    return HIGHER.losses(net, batch)


@pytest.mark.slow
def test_losses_and_gradients_are_the_references():
    baselines.assert_same_first_step(
        HIGHER, training_losses, variables(HIGHER), LOSSES, golden(TRAIN)
    )


@pytest.mark.slow
def test_three_steps_are_the_references():
    baselines.assert_same_three_steps(
        HIGHER, training_losses, variables(HIGHER), LOSSES, golden(TRAIN)
    )


def ae_training_losses(net):
    """Of AE's golden images and people."""
    figures = golden(AE_TRAIN)
    batch = {
        "image": baselines.normalized(figures["images"], np.float64),
        "keypoints": figures["joints_heatmap_px"] * np.array([4, 4, 1]),
        "valid_mask": figures["mask"],
    }
    return AE.losses(net, batch)


@pytest.mark.slow
def test_three_steps_of_ae_are_the_references():
    figures = golden(AE_TRAIN)
    arrays = {key.removesuffix("_f64"): value for key, value in figures.items() if "_f64" in key}
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        program = baselines.loss_program(AE, ae_training_losses, train=True)
        steps = list(baselines.adam_steps(program, baselines.double(variables(AE))))
        for step, (losses, _, _) in enumerate(steps):
            ours = [float(losses[name]) for name in ("heatmap_4", "push", "pull")]
            expected = figures["losses_heat_push_pull_total_f64"][step]
            np.testing.assert_allclose([*ours, sum(ours)], expected, rtol=1e-6)
        baselines.assert_same_arrays(AE, {"params": steps[0][1]}, arrays, "grad_")
        baselines.assert_same_arrays(AE, steps[-1][2], arrays, "after3_")


# The whole test procedure on a photograph.


CASES = {"single": (1.0,), "multi": (0.5, 1.0, 2.0)}
cases = pytest.mark.parametrize("case", CASES)


def quiet_variables():
    """The photographs' weights: tags of a tenth, so that people come together."""
    names = [f"final_layers.0.{leaf}" for leaf in ("weight", "bias")]
    state = baselines.state_dict(FILES[HIGHER])
    quiet = baselines.state_dict(FILES[HIGHER], gains=[(name, 0.1) for name in names])
    for name in names:
        state[name][17:] = quiet[name][17:]
    return fold_batch_norm(from_state_dict(state, HIGHER))


def photographed_frame(case):
    figures = golden(f"baselines/higherhrnet/predict_{case}_coco.npz")
    pixels = read_image(shared_data(*str(figures["image_file"]).split("/")))
    inference = HigherHRNetInference(input_size=256, scales=CASES[case])
    return figures, inference, HIGHER.frames(pixels, inference)[0]


@cases
def test_frames_of_a_photograph_are_the_references(case):
    figures, inference, frame = photographed_frame(case)
    for scale, pixels in zip(inference.scales, frame.pixels, strict=True):
        prefix = f"scale{scale:g}_"
        if f"{prefix}resized" in figures:
            np.testing.assert_array_equal(pixels, figures[f"{prefix}resized"])
        else:
            assert zlib.crc32(pixels.tobytes()) == figures[f"{prefix}resized_crc32"]


@functools.cache
def photograph(case):
    """Figures, and the maps that the network makes of the frames."""
    figures, inference, frame = photographed_frame(case)
    maps = functools.partial(HIGHER.maps, inference=inference)
    bound = nn.apply(lambda net, frames: maps(net, frames), HIGHER.network(Compute(folded=True)))
    program = jax.jit(bound, compiler_options=compiler_options("cpu"))
    heatmap, tags = program(quiet_variables(), stack_frames([frame], 1))
    return figures, heatmap[0], tags[0], frame


@pytest.mark.slow
@cases
def test_maps_of_a_photograph_are_the_references(case):
    figures, heatmap, tags, _ = photograph(case)
    assert_close(heatmap[:, ::8, ::8], figures["heat_projected_sub"])
    assert_close(np.moveaxis(tags, 1, -1)[:, ::8, ::8], figures["tags_projected_sub"])


@pytest.mark.slow
@cases
def test_candidates_of_a_photograph_are_the_references(case):
    figures, heatmap, tags, _ = photograph(case)
    found = find_candidates(heatmap, tags, HigherHRNetInference().grouping)
    # Of equal ones the order is arbitrary there; those that float64 finds elsewhere may be, too.
    same = (figures["topk_val"] > 0.1) & figures["topk_same_in_f64"]
    assert_close(np.asarray(found.scores)[same], figures["topk_val"][same])
    for k in range(17):
        ours = {tuple(place[::-1]) for place in found.yx[k].tolist()}
        assert ours >= {tuple(place) for place in figures["topk_xy"][k][same[k]].tolist()}


@pytest.mark.slow
@cases
def test_people_of_a_photograph_are_the_references(case, monkeypatch):
    """From the recorded candidates: rounding must not decide who comes together."""
    figures, heatmap, tags, frame = photograph(case)
    recorded = Candidates(
        jnp.asarray(figures["topk_xy"][..., ::-1], jnp.int32),
        jnp.asarray(figures["topk_val"]),
        jnp.asarray(figures["topk_tag"]),
    )
    monkeypatch.setattr("pinet_jax.tag_decoding.find_candidates", lambda *_: recorded)
    config = HigherHRNetInference().grouping
    groups = group_candidates(recorded, HIGHER.order, config)
    xy = np.asarray(adjust(heatmap, groups.yx))[np.asarray(groups.mask)]
    there = figures["grouped"][..., 2] > 0
    np.testing.assert_allclose(xy[there], figures["adjusted_xy"][there], rtol=0, atol=0.05)

    people = find_people(heatmap, tags, HIGHER.order, config, 40)
    best = figures["best40_by_score"]
    np.testing.assert_allclose(people.scores, figures["scores"][best], rtol=1e-3)
    assert_same_points(people.keypoints, figures["best40_refined"])
    points = restore_points(np.asarray(people.keypoints[..., :2], np.float64), frame.matrix)
    image = np.concatenate([points, people.keypoints[..., 2:]], axis=-1)
    assert_same_points(image, figures["best40_image"])


@pytest.mark.slow
def test_people_of_aes_photograph_are_the_references(monkeypatch):
    figures = golden("baselines/ae/ae_predict_w32_coco_bn0.4-0.6.npz")
    inference = HigherHRNetInference()
    maps = functools.partial(AE.maps, inference=inference)
    bound = nn.apply(lambda net, frames: maps(net, frames), AE.network(Compute(folded=True)))
    program = jax.jit(bound, compiler_options=compiler_options("cpu"))
    frame = Frame((figures["resized_rgb"],), np.eye(2, 3))
    folded = fold_batch_norm(variables(AE))
    heatmap, tags = (x[0] for x in program(folded, stack_frames([frame], 1)))
    assert_close(heatmap[:, ::8, ::8], figures["heat_projected_sub"])
    assert_close(np.moveaxis(tags, 1, -1)[:, ::8, ::8], figures["tags_projected_sub"])

    recorded = Candidates(
        jnp.asarray(figures["topk_xy"][..., ::-1], jnp.int32),
        jnp.asarray(figures["topk_val"]),
        jnp.asarray(figures["topk_tag"]),
    )
    monkeypatch.setattr("pinet_jax.tag_decoding.find_candidates", lambda *_: recorded)
    people = find_people(heatmap, tags, AE.order, inference.grouping, 40)
    best = figures["best40_by_score"]
    np.testing.assert_allclose(people.scores, figures["scores_all"][best], rtol=1e-3)
    assert_same_points(people.keypoints, figures["best40_refined"])


def assert_same_points(actual, expected):
    np.testing.assert_allclose(actual[..., :2], expected[..., :2], rtol=0, atol=0.05)
    np.testing.assert_allclose(actual[..., 2], expected[..., 2], rtol=1e-3, atol=1e-4)


# Frames.


@pytest.mark.parametrize(
    ("scales", "shapes"),
    [
        ((1.0,), [(384, 256)]),
        ((0.5, 1.0, 2.0), [(192, 128), (384, 256), (768, 512)]),
    ],
)
def test_frames_are_as_large_as_the_references(scales, shapes):
    inference = HigherHRNetInference(input_size=256, scales=scales)
    assert HIGHER.frame_shapes((640, 480), inference) == tuple(shapes)


def test_the_smallest_scale_is_a_multiple_of_64():
    inference = HigherHRNetInference(input_size=320, scales=(0.5, 1.0))
    assert HIGHER.frame_shapes((480, 640), inference) == ((192, 256), (384, 512))


def test_crowdposes_keypoints_are_grouped_in_cocos_order():
    order = HigherHRNet(CROWDPOSE_14).order
    assert order == (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13)
