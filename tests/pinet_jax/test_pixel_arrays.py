"""Arrays of users: the right pixels, or one line."""

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from pinet_jax.errors import InputError
from pinet_jax.pixel_arrays import checked_boxes, rgb_pixels

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)


def test_rgb_is_taken_as_it_is():
    assert rgb_pixels(RGB) is RGB
    np.testing.assert_array_equal(rgb_pixels(jnp.asarray(RGB)), RGB)
    np.testing.assert_array_equal(rgb_pixels(RGB[..., ::-1]), RGB[..., ::-1])


@pytest.mark.parametrize("grey", [RGB[..., 0], RGB[..., :1]])
def test_grey_is_repeated(grey):
    np.testing.assert_array_equal(rgb_pixels(grey), np.stack([RGB[..., 0]] * 3, axis=-1))


def test_transparency_is_laid_over_white_as_in_files():
    alpha = np.random.default_rng(1).integers(0, 256, (6, 8, 1), np.uint8)
    rgba = np.concatenate([RGB, alpha], axis=-1)
    expected = 255 + alpha / 255 * (RGB.astype(float) - 255)
    np.testing.assert_allclose(rgb_pixels(rgba), expected, atol=0.5)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (RGB / 255, "float64 [6, 8, 3]"),
        (RGB.astype(np.float32), "float32"),
        (RGB.astype(np.uint16), "uint16"),
        (RGB.astype(np.int64), "int64"),
        (RGB > 3, "bool"),
        (RGB.transpose(2, 0, 1), "[3, 6, 8], channels first"),
        (RGB[None], "[1, 6, 8, 3]"),
        (RGB[..., :2], "[6, 8, 2]"),
        (RGB[:0], "[0, 8, 3]"),
        (np.zeros((0, 0), np.uint8), "[0, 0]"),
        (np.zeros(5, np.uint8), "[5]"),
        (None, "NoneType"),
        ("picture.jpg", "a str, no array"),
        ([[1, 2], [3, 4]], "a list, no array"),
        (Image.fromarray(RGB), "no array"),
    ],
)
def test_all_else_is_one_line(image, message):
    with pytest.raises(InputError) as caught:
        rgb_pixels(image)
    text = str(caught.value)
    assert message in text and "give uint8 RGB of 0..255, [H, W, 3]" in text and "\n" not in text


def test_boxes():
    box = [1, 2, 3, 4, 0.5]
    np.testing.assert_array_equal(checked_boxes([box]), [box])
    assert checked_boxes([]).shape == (0, 5)
    for wrong in ([box[:4]], box, [["a"] * 5], [[1, 2, 0, 4, 1]], [[1, 2, 3, float("nan"), 1]]):
        with pytest.raises(InputError, match=r"box.*\[M, 5\]"):
            checked_boxes(wrong)
