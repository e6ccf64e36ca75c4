"""Boxes and crops, against the released code's figures."""

import numpy as np
import pytest

from pinet_jax.boxes import affine_of_region, clean_box, crop, crop_region, tight_region
from tests.topdown import figures

SHAPE = (256, 192)


@pytest.mark.parametrize("case", range(6))
def test_regions_and_affine_maps(case):
    golden = figures("sb_boxes_affine")
    region = crop_region(golden["boxes"][case], SHAPE)
    np.testing.assert_array_equal(region.center, golden["center"][case])
    np.testing.assert_array_equal(region.scale, golden["scale"][case])
    affine = affine_of_region(region, SHAPE, golden["rotation_deg"][case])
    np.testing.assert_allclose(affine, golden["image_to_input_192x256"][case], rtol=1e-12)


@pytest.mark.parametrize("case", range(6))
def test_annotated_boxes(case):
    golden = figures("sb_boxes_affine")
    width, height = golden["image_wh"].tolist()
    clean = clean_box(golden["boxes"][case], height, width)
    np.testing.assert_array_equal(clean, golden["gt_clean_boxes"][case])
    np.testing.assert_array_equal(crop_region(clean, SHAPE).scale, golden["gt_scale"][case])


@pytest.mark.parametrize("box", [(200, 5, 10, 10), (5, 120, 10, 10)])
def test_an_annotated_box_right_of_or_below_its_image_is_none(box):
    assert clean_box(np.array(box, float), height=100, width=150) is None


def test_a_white_pixel_and_its_point_coincide():
    image = np.zeros((90, 120, 3), np.uint8)
    image[40, 70] = 255
    affine = affine_of_region(tight_region(np.array([[60, 30], [80, 60]]), SHAPE), SHAPE, 20)
    pixels = crop(image, affine, SHAPE)[..., 0].astype(float)
    rows, columns = np.indices(pixels.shape)
    found = [(columns * pixels).sum(), (rows * pixels).sum()] / pixels.sum()
    np.testing.assert_allclose(found, affine[:, :2] @ [70, 40] + affine[:, 2], atol=0.05)
