"""SPM, a PINet value, against figures of the released code with one part and no refinement."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.frames import FrameBatch
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.heads import Maps
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.pinet import Outputs
from pinet_jax.runtime import compiler_options
from tests import baselines
from tests.conftest import golden

FOLDER = "baselines/spm"
SPM = PINet(partition="center", refinement=None)
FUSED, KEPT = PINetInference(), PINetInference(fusion=False)
# The photograph's weights are made gentler, so that poses lie on it.
GENTLER = {
    "gains": {
        "ppg.heatmap_head.weight": 0.2,
        "ppg.detkptmap_head.weight": 0.2,
        "ppg.offset_head.weight": 0.1,
        "ppg.offset_head.bias": 400,
    },
    "biases": {"ppg.heatmap_head.bias": 0.3, "ppg.detkptmap_head.bias": 0.5},
}


@functools.cache
def state(gentler=False):
    options = {key: value.items() for key, value in GENTLER.items()} if gentler else {}
    return baselines.state_dict(f"{FOLDER}/state_dict_spm_coco.json", **options)


@functools.cache
def variables(gentler=False):
    return from_state_dict(state(gentler), SPM)


def test_maps_are_the_references():
    figures = golden(f"{FOLDER}/spm_coco_bn0.4-0.6.npz")
    program = jax.jit(SPM.network().apply, compiler_options=compiler_options("cpu"))
    maps = program(variables(), np.moveaxis(figures["x"], 1, -1)).maps
    offset = maps.offset.reshape(*maps.heatmap.shape[:3], -1)
    for actual, key in ((maps.heatmap, "heat"), (maps.part_map, "det"), (offset, "offset")):
        expected = np.moveaxis(figures[key], 1, -1)
        np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * np.abs(expected).max())


def frames(pixels):
    return FrameBatch((pixels,), np.zeros((len(pixels), 2, 3), np.float32))


def found_poses(stage):
    """The poses of one frame that count."""
    keypoints, scores, mask = jax.device_get(stage)
    return keypoints[0][mask[0]], scores[0][mask[0]]


def assert_same_poses(poses, keypoints, scores):
    """The same people in the same order, within 0.05 px and 1e-3 of the score."""
    assert poses[0].shape == keypoints.shape
    np.testing.assert_allclose(poses[0][..., :2], keypoints[..., :2], rtol=0, atol=0.05)
    np.testing.assert_allclose(poses[0][..., 2], keypoints[..., 2], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(poses[1], scores, rtol=1e-3)


class GivenMaps:
    """Stands for a network: its features are the given maps of both passes, side by side."""

    def __init__(self, *maps):
        self.channels = [x.shape[1] for x in maps]
        features = np.concatenate(maps, axis=1).astype(np.float32)
        self.features = jnp.asarray(np.moveaxis(features, 1, -1))

    def __call__(self, images):
        return Outputs(self.features[: len(images)], self.generate(self.features[: len(images)]))

    def generate(self, features):
        ends = np.cumsum(self.channels)[:-1].tolist()
        heatmap, part_map, offset = jnp.split(features, ends, axis=-1)
        return Maps(heatmap, part_map, offset.reshape(*offset.shape[:-1], 1, -1, 2))


@pytest.mark.parametrize("case", range(3))
def test_poses_of_given_maps_are_the_references(case):
    prefix = f"case{case}_"
    figures = {
        key.removeprefix(prefix): value
        for key, value in golden(f"{FOLDER}/decode_coco.npz").items()
        if key.startswith(prefix)
    }
    maps = [figures[f"{name}_direct_mirrored"] for name in ("heat", "center", "offset")]
    height, width = maps[0].shape[2:]
    pixels = np.zeros((1, 4 * height, 4 * width, 3), np.uint8)
    stages = SPM.poses(GivenMaps(*maps), frames(pixels), FUSED)
    if "poses_input" not in figures:
        assert not any(stage.mask.any() for stage in stages.values())
        return
    candidates = figures["poses_input"], figures["scores"]
    assert_same_poses(found_poses(stages["coarse"]), *candidates)
    assert_same_poses(found_poses(stages["final"]), figures["fused"], figures["fused_scores"])
    kept = SPM.poses(GivenMaps(*maps), frames(pixels), KEPT)["final"]
    assert_same_poses(found_poses(kept), *(x[figures["keep"]] for x in candidates))


@pytest.mark.parametrize("inference", [FUSED, KEPT], ids=["fused", "kept"])
def test_poses_of_a_photograph_are_the_references(inference):
    figures = golden(f"{FOLDER}/predict_coco.npz")
    poses = functools.partial(SPM.poses, inference=inference)
    bound = nn.apply(lambda net, x: poses(net, x), SPM.network(Compute(folded=True)))
    program = jax.jit(bound, compiler_options=compiler_options("cpu"))
    stages = program(fold_batch_norm(variables(gentler=True)), frames(figures["resized"][None]))
    # Frame pixels; the figures are the image's. The map is that of `resized_frame`.
    shift, zoom = figures["center"], figures["scale"][0] * 200 / figures["resized"].shape[1]
    middle = np.array(figures["resized"].shape[1::-1]) / 2

    def restored(stage):
        keypoints, scores = found_poses(stage)
        points = (keypoints[..., :2] - middle) * zoom + shift
        return np.concatenate([points, keypoints[..., 2:]], axis=-1), scores

    candidates = figures["candidates"], figures["candidate_scores"]
    assert_same_poses(restored(stages["coarse"]), *candidates)
    fused = figures["poses_image"], figures["scores"]
    kept = tuple(x[figures["keep"]] for x in candidates)
    assert_same_poses(restored(stages["final"]), *(fused if inference.fusion else kept))


def training_losses(net):
    """Of the golden images and people."""
    figures = golden(f"{FOLDER}/train_coco.npz")

    def padded(name):
        arrays = [figures[f"image{image}_{name}"] for image in range(3)]
        # The released code's targets are float32, also where it computes in float64.
        return baselines.padded(arrays, 4, np.float32)

    batch = {
        "image": baselines.normalized(figures["images"], np.float64),
        # Frame pixels; the figures are map pixels.
        "keypoints": padded("joints") * np.array([4, 4, 1], np.float32),
        "area": padded("area"),
        "valid_mask": figures["valid_mask"],
    }
    return SPM.losses(net, batch)


LOSSES = ("point", "offset")


def test_losses_and_gradients_are_the_references():
    baselines.assert_same_first_step(
        SPM, training_losses, variables(), LOSSES, golden(f"{FOLDER}/train_coco.npz")
    )


@pytest.mark.slow
def test_three_steps_are_the_references():
    baselines.assert_same_three_steps(
        SPM, training_losses, variables(), LOSSES, golden(f"{FOLDER}/train_coco.npz")
    )
