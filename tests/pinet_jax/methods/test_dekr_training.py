"""DEKR's targets, losses and training steps against the released code's figures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.augmentation import (
    Augmentation,
    squared_reach,
    warp_area,
    warp_keypoints,
    warp_mask,
)
from pinet_jax import losses, targets
from pinet_jax.methods.dekr import DEKR
from pinet_jax.networks.heads import Maps
from pinet_jax.skeletons import COCO_17
from tests import baselines, tiny
from tests.conftest import golden
from tests.pinet_jax.methods.test_dekr import FOLDER, variables


def target_case(case):
    return {
        name.removeprefix(f"case{case}_"): array
        for name, array in golden(f"{FOLDER}/targets_coco.npz").items()
        if name.startswith(f"case{case}_")
    }


def assert_same_targets(found, figures):
    maps = np.concatenate([found.heatmap, found.part_map], axis=-1)
    weights = np.concatenate([found.heatmap_weight, found.part_map_weight], axis=-1)
    for actual, expected in (
        (maps, figures["heatmap"]),
        (weights, figures["heatmap_weight"]),
        (found.offset.reshape(64, 64, -1), figures["offset_smallest_wins"]),
        (np.repeat(found.offset_weight, 2), figures["offset_weight_smallest_wins"]),
    ):
        expected = np.moveaxis(expected, 0, -1)
        np.testing.assert_allclose(actual.reshape(expected.shape), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", range(5))
def test_targets_of_points_on_the_map_are_the_references(case):
    figures = target_case(case)
    points = baselines.padded([figures["joints_and_center"]], 6, np.float32)[0]
    area = baselines.padded([figures["area"]], 6, np.float32)[0]
    render = functools.partial(targets.render_maps, part_sigma=4, offset_radius=4)
    arrays = (points[:, :17], area, figures["valid_mask"], points[:, 17:])
    found = jax.jit(render)(*(jnp.asarray(array) for array in arrays))
    assert_same_targets(jax.device_get(found), figures)


@pytest.mark.parametrize("case", [0, 1, 2, 4])  # 3 has a person whose own area is not its box's
def test_targets_of_an_augmented_image_are_the_references(case):
    figures = target_case(case)
    augmentation = Augmentation(
        float(figures["aug_scale"]),
        float(figures["rotation_deg"]),
        tuple(figures["translate_px"].tolist()),
        bool(figures["flip"]),
    )
    used = figures["iscrowd_in"] == 0
    keypoints, boxes = figures["keypoints_in"][used], figures["bbox_in"][used]
    shape = (*figures["valid_mask_in"].shape, 256)
    swap = COCO_17.mirror_permutation
    area = warp_area(boxes[:, 2] * boxes[:, 3], augmentation, *shape)
    reach = warp_area(squared_reach(keypoints), augmentation, *shape)
    batch = {
        "keypoints": [warp_keypoints(keypoints, augmentation, *shape, swap)],
        "area": [area],
        "reach": [reach],
    }
    batch = {name: baselines.padded(rows, 6, np.float32) for name, rows in batch.items()}
    batch["mirrored"] = figures["flip"][None]
    batch["valid_mask"] = warp_mask(figures["valid_mask_in"], augmentation, 64)[None]
    found = jax.jit(DEKR().targets)(batch)
    assert_same_targets(jax.tree.map(lambda x: np.asarray(x)[0], found), figures)


def test_a_frame_that_is_the_whole_image_needs_no_reach():
    batch = tiny.batch(2)
    points = batch["keypoints"]
    corner = np.where(points[..., 2:] > 0, points[..., :2], 0).max(axis=2)
    given = DEKR().targets(batch | {"reach": (corner**2).sum(axis=-1)})
    for actual, expected in zip(DEKR().targets(batch), given, strict=True):
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize("case", range(2))
def test_losses_of_maps_are_the_references(case):
    figures = golden(f"{FOLDER}/losses_coco.npz")

    def last(name):
        return jnp.asarray(np.moveaxis(figures[f"case{case}_{name}"], 1, -1))

    def twice(offsets):  # the figures' weights are of numbers, ours of pairs
        return jnp.stack([offsets, offsets], axis=-1)

    def total(heat, offset):
        target, weight = last("heat_gt"), last("heat_weight")
        heatmap, part_map = (
            (target[..., :17], weight[..., :17]),
            (target[..., 17:], weight[..., 17:]),
        )
        wanted = targets.Targets(
            *heatmap, *part_map, last("offset_gt"), last("offset_weight"), jnp.zeros(())
        )
        point = losses.point_loss(Maps(heat[..., :17], heat[..., 17:], offset), wanted)
        distance = losses.offset_loss(twice(offset), twice(wanted.offset), wanted.offset_weight)
        return point + 0.03 * distance, (point, 0.03 * distance)

    with jax.enable_x64(True):
        program = jax.value_and_grad(total, argnums=(0, 1), has_aux=True)
        (_, found), gradients = program(last("heat"), last("offset"))
    np.testing.assert_allclose(found, figures[f"case{case}_losses"], rtol=1e-6)
    for name, gradient in zip(("heat", "offset"), gradients, strict=True):
        expected = np.moveaxis(figures[f"case{case}_grad_{name}"], 1, -1)
        scale = np.abs(expected).max()
        np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-5 * scale)


class Recorded(DEKR):
    """The reference stored its targets as float32, and some centres by hand."""

    def targets(self, batch):
        dtype = batch["keypoints"].dtype
        return jax.tree.map(lambda x: x.astype(jnp.float32).astype(dtype), super().targets(batch))


def training_losses(net):
    """Of the golden images and people."""
    figures = golden(f"{FOLDER}/train_coco.npz")
    points = [figures[f"image{image}_joints_and_center"] for image in range(3)]
    keypoints = baselines.padded(points, 4, np.float64)[:, :, :17]
    area = baselines.padded([figures[f"image{i}_area"] for i in range(3)], 4, np.float64)
    batch = {
        "image": baselines.normalized(figures["images"], np.float64),
        "keypoints": keypoints * np.array([4, 4, 1]),  # frame pixels; the figures are map pixels
        "area": area,
        "reach": area,
        "valid_mask": figures["valid_mask"],
    }
    return Recorded().losses(net, batch)


LOSSES = ("heatmap", "offset")


@pytest.mark.slow
def test_losses_and_gradients_are_the_references():
    baselines.assert_same_first_step(
        DEKR(), training_losses, variables(), LOSSES, golden(f"{FOLDER}/train_coco.npz")
    )


@pytest.mark.slow
def test_three_steps_are_the_references():
    baselines.assert_same_three_steps(
        DEKR(), training_losses, variables(), LOSSES, golden(f"{FOLDER}/train_coco.npz")
    )
