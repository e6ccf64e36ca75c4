"""The augmentation against the reference's figures, and by where a white pixel goes."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

from data_pipelines.augmentation import (
    Augmentation,
    affine_matrix,
    random_numbers,
    sample_augmentation,
    squared_reach,
    warp_area,
    warp_corners,
    warp_image,
    warp_keypoints,
    warp_mask,
)
from data_pipelines.config import AugmentationConfig
from pinet_jax.skeletons import COCO_17
from tests.conftest import golden

MIRROR = COCO_17.mirror_permutation


@pytest.mark.parametrize("case", range(6))
def test_equals_reference(case):
    """Image, mask and areas to the last bit; keypoints to the rounding of float64."""
    figures = {
        key.removeprefix(f"case{case}_"): value
        for key, value in golden("augment.npz").items()
        if key.startswith(f"case{case}_")
    }
    augmentation = Augmentation(
        float(figures["scale"]),
        float(figures["rotation_deg"]),
        tuple(figures["translate_px"].tolist()),
        bool(figures["flip"]),
    )
    height, width = figures["image"].shape[:2]
    image = warp_image(figures["image"], augmentation, 128)
    mask = warp_mask(figures["valid_mask"].astype(np.uint8), augmentation, 32)
    keypoints = warp_keypoints(figures["keypoints"], augmentation, height, width, 32, MIRROR)
    area = warp_area(figures["area"], augmentation, height, width, 128)
    np.testing.assert_array_equal(image, figures["out_image"])
    np.testing.assert_array_equal(mask, figures["out_valid_mask"])
    np.testing.assert_allclose(keypoints, figures["out_keypoints"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(area, figures["out_area"], rtol=1e-14)


@pytest.mark.parametrize("case", range(4))
def test_corners_of_boxes_equal_reference(case):
    figures = {
        key.removeprefix(f"case{case}_"): value
        for key, value in golden("baselines/cid/dataset_coco.npz").items()
        if key.startswith(f"case{case}_")
    }
    augmentation = Augmentation(
        float(figures["aug_scale"]),
        float(figures["rotation_deg"]),
        tuple(figures["translate_px"].tolist()),
        bool(figures["flip"]),
    )
    height, width = SIZES[str(figures["file"])]
    top_left, bottom_right = (figures["bbox_corners_in"][:, i] for i in (0, 3))
    boxes = np.concatenate([top_left, bottom_right - top_left], axis=-1)
    corners = warp_corners(boxes, augmentation, height, width, 64)
    np.testing.assert_allclose(corners, figures["bbox_corners"], rtol=0, atol=1e-11)


# Height and width of the images that the figures of boxes are of.
SIZES = {"000000129648.jpg": (427, 640), "000000227000.jpg": (640, 480)}

TRANSFORMS = {
    "none": Augmentation(),
    "scale down": Augmentation(scale=1.5),
    "scale up": Augmentation(scale=0.75),
    "rotation": Augmentation(rotation_deg=30.0),
    "rotation back": Augmentation(rotation_deg=-17.5),
    "translation": Augmentation(translation_px=(21, -13)),
    "mirror": Augmentation(mirrored=True),
    "all": Augmentation(1.2, -25.0, (-9, 17), True),
}


def _centroid(image):
    """(x, y) of the light in an image [H, W], or None where there is none."""
    if not image.any():
        return None
    rows, columns = np.indices(image.shape)
    return np.array([(columns * image).sum(), (rows * image).sum()]) / image.sum()


@pytest.mark.parametrize("shape", [(90, 140), (140, 90), (101, 101)])
@pytest.mark.parametrize("name", TRANSFORMS)
def test_white_pixel_and_keypoint_stay_together(name, shape):
    """A pixel's light is spread over its neighbours; its centre is where the keypoint goes."""
    augmentation = TRANSFORMS[name]
    height, width = shape
    size = 160  # larger than the square: no pixel falls between the samples
    together = 0
    for x, y in ((45, 45), (40, 52), (52, 30), (60, 60)):
        image = np.zeros((*shape, 3), np.uint8)
        image[y, x] = 255
        warped = warp_image(image, augmentation, size)
        keypoints = np.zeros((1, 17, 3))
        keypoints[0, 5] = x, y, 2
        moved = warp_keypoints(keypoints, augmentation, height, width, size, MIRROR)
        expected = moved[0, MIRROR[5] if augmentation.mirrored else 5]
        assert expected[2] == 2 and (moved[0, :, 2] > 0).sum() == 1
        if (expected[:2] < 3).any() or (expected[:2] > size - 4).any():
            continue
        found = _centroid(warped[..., 0].astype(np.float64))
        assert found is not None
        np.testing.assert_allclose(found, expected[:2], atol=0.15)
        together += 1
    assert together >= 2


def test_rotation_turns_counterclockwise():
    """What the docstring promises: a point on the right goes up."""
    matrix = affine_matrix(Augmentation(rotation_deg=30.0), 100, 100, 100)
    right_of_centre = matrix @ [80, 50, 1]
    np.testing.assert_allclose(right_of_centre, [50 + 30 * 0.75**0.5, 50 - 15])


def test_square_fills_the_output():
    """The square's corners are the output's, whatever the image's shape."""
    matrix = affine_matrix(Augmentation(scale=1.5), 100, 300, 64)
    np.testing.assert_allclose(matrix @ [75, -25, 1], [0, 0], atol=1e-12)
    np.testing.assert_allclose(matrix @ [225, 125, 1], [64, 64], atol=1e-12)


def test_mask_and_image_go_together():
    """A mask that is the image's left half covers what the image's left half covers."""
    image = np.zeros((96, 128), np.uint8)
    image[:, :64] = 255
    augmentation = TRANSFORMS["all"]
    mask = warp_mask(image // 255, augmentation, 32)
    as_image = warp_image(image, augmentation, 32)
    np.testing.assert_array_equal(mask, as_image > 127)
    assert 0 < mask.sum() < mask.size


def test_outside_of_the_image_is_masked():
    mask = warp_mask(np.ones((50, 100), np.uint8), Augmentation(scale=2.0), 40)
    assert mask[0].sum() == 0 and mask[20].sum() == 40


def test_writes_where_it_is_told():
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    for augmentation in TRANSFORMS.values():
        out = np.empty((2, 32, 32, 3), np.uint8)
        warp_image(image, augmentation, 32, out=out[1])
        np.testing.assert_array_equal(out[1], warp_image(image, augmentation, 32))


@hypothesis.settings(deadline=None)
@hypothesis.given(
    seed=st.integers(0, 2**64), epoch=st.integers(0, 10**6), index=st.integers(0, 10**7)
)
def test_draws_keep_their_ranges(seed, epoch, index):
    config = AugmentationConfig()
    drawn = sample_augmentation(config, 480, 640, random_numbers(seed, epoch, index))
    assert drawn == sample_augmentation(config, 480, 640, random_numbers(seed, epoch, index))
    assert 0.75 <= drawn.scale <= 1.5
    assert abs(drawn.rotation_deg) <= 30
    assert max(map(abs, drawn.translation_px)) <= 40 * 480 / 200 * drawn.scale
    assert all(isinstance(shift, int) for shift in drawn.translation_px)


def test_draws_fill_their_ranges():
    """Means and extremes of many draws; a shift is as likely to one side as to the other."""
    config = AugmentationConfig(scale=(1.0, 1.0))
    numbers = [random_numbers(7, 3, index) for index in range(4000)]
    drawn = [sample_augmentation(config, 200, 300, five) for five in numbers]
    shifts = np.array([d.translation_px for d in drawn])
    rotations = np.array([d.rotation_deg for d in drawn])
    assert shifts.min(axis=0).tolist() == [-40, -40] and shifts.max(axis=0).tolist() == [40, 40]
    assert np.abs(shifts.mean(axis=0)).max() < 4 * 23.4 / 4000**0.5
    assert abs(rotations.mean()) < 4 * 17.3 / 4000**0.5 and np.abs(rotations).max() > 29.9
    assert 0.46 < np.mean([d.mirrored for d in drawn]) < 0.54


def test_numbers_differ_by_seed_epoch_and_index():
    drawn = {
        tuple(random_numbers(seed, epoch, index))
        for seed in range(4)
        for epoch in range(4)
        for index in range(4)
    }
    assert len(drawn) == 64


def test_reach_is_the_far_corner_of_what_is_labelled():
    keypoints = np.array([[[3, 1, 2], [2, 4, 1], [9, 9, 0]], [[5, 5, 0]] * 3], np.float32)
    np.testing.assert_array_equal(squared_reach(keypoints), [3**2 + 4**2, 0])
    assert squared_reach(np.zeros((0, 17, 3), np.float32)).shape == (0,)
