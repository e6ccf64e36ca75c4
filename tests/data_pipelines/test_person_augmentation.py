"""The augmentation of one person's crop, against the released code's recorded draws."""

import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.config import PersonAugmentationConfig
from data_pipelines.person_augmentation import (
    Draw,
    augment,
    draw,
    warp_keypoints,
    warp_person,
)
from pinet_jax.boxes import CropRegion
from pinet_jax.person_heatmaps import render_heatmaps
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.topdown import figures

SHAPE = (128, 96)
CASES = [
    (name, skeleton, enough, case)
    for name, skeleton, enough in (("coco", COCO_17, 9), ("crowdpose", CROWDPOSE_14, 7))
    for case in range(8)
]


def recorded_draw(numbers, enough, config):
    """The released code's draws, of which it makes only those that it needs."""
    left = iter(numbers)
    half_body = next(left) if enough else 1.0
    upper_body = next(left) if half_body < config.half_body_probability else 0.0
    scale, rotate = next(left), next(left)
    rotation = next(left) if rotate <= config.rotation_probability else 0.0
    return Draw(half_body, upper_body, scale, rotate, rotation, next(left))


@pytest.mark.parametrize(("name", "skeleton", "enough", "case"), CASES)
def test_recorded_draws(name, skeleton, enough, case):
    golden = {
        key.removeprefix(f"{name}_"): array
        for key, array in figures("sb_augment").items()
        if key.startswith(name)
    }
    config = PersonAugmentationConfig(half_body_probability=0.7, half_body_keypoints=enough)
    image = np.ascontiguousarray(golden["image_bgr"][..., ::-1])
    keypoints = np.column_stack([golden["joints"][case], golden["visible"][case]])
    drawn = recorded_draw(golden["draws"][case], (keypoints[:, 2] > 0).sum() >= enough, config)
    region, width = CropRegion(golden["center"][case], golden["scale"][case]), image.shape[1]

    crop = augment(config, region, keypoints, drawn, skeleton, SHAPE, width)
    np.testing.assert_array_equal(crop.region.center, golden["out_center"][case])
    np.testing.assert_allclose(crop.region.scale, golden["out_scale"][case], rtol=1e-12)
    assert crop.rotation_deg == golden["rotation_deg"][case]
    assert crop.mirrored == golden["flip"][case]

    pixels = warp_person(image, crop, SHAPE)
    np.testing.assert_array_equal(pixels, golden["out_image_rgb"][case])
    warped = warp_keypoints(keypoints, crop, SHAPE, width, skeleton.mirror_permutation)
    labelled = warped[:, 2] > 0
    np.testing.assert_array_equal(labelled, golden["out_visible"][case] > 0)
    np.testing.assert_allclose(
        warped[labelled, :2], golden["out_joints"][case][labelled], atol=1e-9
    )
    targets = render_heatmaps(jnp.asarray(warped, jnp.float32)[None], (32, 24))
    expected = np.moveaxis(golden["target"][case], 0, -1)
    np.testing.assert_allclose(targets.heatmap[0], expected, atol=1e-5)


def test_a_draw_belongs_to_its_seed_epoch_and_person():
    assert draw(0, 3, 7) == draw(0, 3, 7)
    assert len({draw(0, 3, 7), draw(1, 3, 7), draw(0, 4, 7), draw(0, 3, 8)}) == 4


def test_draws_are_uniform_and_normal():
    drawn = np.array([draw(0, 0, person) for person in range(2000)])
    uniform = drawn[:, [0, 3, 5]]
    assert uniform.min() >= 0 and uniform.max() < 1
    np.testing.assert_allclose(uniform.mean(axis=0), 0.5, atol=0.03)
    normal = drawn[:, [1, 2, 4]]
    np.testing.assert_allclose(normal.mean(axis=0), 0, atol=0.08)
    np.testing.assert_allclose(normal.std(axis=0), 1, atol=0.06)


def test_a_person_with_few_labels_is_shown_whole():
    keypoints = np.zeros((17, 3))
    keypoints[:8] = [50, 40, 2]
    region = CropRegion(np.float32([50, 40]), np.float32([0.3, 0.4]))
    drawn = Draw(0.0, 0.0, 0.0, 1.0, 0.0, 1.0)
    crop = augment(PersonAugmentationConfig(), region, keypoints, drawn, COCO_17, SHAPE, 100)
    np.testing.assert_array_equal(crop.region.scale, region.scale)
    assert not crop.mirrored and crop.rotation_deg == 0
