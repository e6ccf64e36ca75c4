"""Colours and blur by known answers."""

import math

import cv2
import numpy as np
import pytest

from data_pipelines.config import PixelConfig
from data_pipelines.pixel_augmentation import change_pixels, colour_matrix

LUMA = np.array([0.299, 0.587, 0.114])
COLOURS = np.array([[200, 40, 10], [0, 255, 0], [90, 90, 90], [12, 34, 200]], np.uint8)
PLAIN = (1.0, 1.0, 1.0)


def changed(factors=PLAIN, turn=0.0, mean=100.0):
    return cv2.transform(COLOURS[None], colour_matrix(factors, turn, mean))[0].astype(float)


def test_no_change_is_none():
    np.testing.assert_array_equal(changed(), COLOURS)
    image = np.random.default_rng(0).integers(0, 256, (9, 7, 3), np.uint8)
    before = image.copy()
    change_pixels(image, PixelConfig(), (1, 2, 3))
    np.testing.assert_array_equal(image, before)


def test_brightness_multiplies_and_is_cut_off():
    np.testing.assert_allclose(changed((0.5, 1, 1)), COLOURS / 2, atol=0.51)
    np.testing.assert_allclose(changed((2, 1, 1)), np.minimum(2.0 * COLOURS, 255), atol=0.51)


def test_contrast_is_about_the_mean_grey():
    wanted = 100 + 0.5 * (COLOURS - 100.0)
    np.testing.assert_allclose(changed((1, 0.5, 1)), wanted, atol=0.51)
    wanted = 50 + 0.5 * (COLOURS / 2 - 50.0)  # of the image as brightness leaves it
    np.testing.assert_allclose(changed((0.5, 0.5, 1)), wanted, atol=0.51)


def test_without_saturation_all_is_grey():
    grey = np.round(COLOURS @ LUMA)[:, None]
    np.testing.assert_allclose(changed((1, 1, 0)), np.tile(grey, (1, 3)), atol=1)


def test_the_hue_turns_about_grey_and_keeps_what_is_bright():
    matrix = colour_matrix(PLAIN, 2 * math.pi / 3, 0.0)[:, :3]
    np.testing.assert_allclose(LUMA @ matrix, LUMA, atol=1e-6)
    np.testing.assert_allclose(matrix @ np.ones(3), np.ones(3), atol=1e-6)
    np.testing.assert_allclose(np.linalg.matrix_power(matrix, 3), np.eye(3), atol=1e-9)
    red, green = matrix @ [1, 0, 0], colour_matrix(PLAIN, -2 * math.pi / 3, 0.0)[:, :3] @ [1, 0, 0]
    assert {int(red.argmax()), int(green.argmax())} == {1, 2}  # to green one way, to blue the other


def test_blur_keeps_the_mean_and_takes_the_edge():
    config = PixelConfig(blur=1.0, blur_sigma=(2.0, 2.0))
    image = np.zeros((41, 41, 3), np.uint8)
    image[20, 20] = 255
    change_pixels(image, config, (0,))
    x = np.arange(-3, 4)
    wanted = 255 * np.exp(-(x**2) / 8) / (2 * math.pi * 4)
    np.testing.assert_allclose(image[20, 17:24, 0], wanted, atol=1)


def test_a_key_has_one_change_and_ranges_are_kept():
    config, grey = PixelConfig(brightness=0.4), np.full((4, 4, 3), 100, np.uint8)
    seen = []
    for index in range(200):
        image, again = grey.copy(), grey.copy()
        change_pixels(image, config, (0, 0, index))
        change_pixels(again, config, (0, 0, index))
        np.testing.assert_array_equal(image, again)
        seen.append(int(image[0, 0, 0]))
    assert 60 <= min(seen) < 65 and 135 < max(seen) <= 140
    assert np.mean(seen) == pytest.approx(100, abs=4)


def test_the_share_of_blurred_images():
    edge = np.zeros((8, 8, 3), np.uint8)
    edge[:, 4:] = 255
    blurred = 0
    for index in range(400):
        image = edge.copy()
        change_pixels(image, PixelConfig(blur=0.3, blur_sigma=(1.0, 2.0)), (index,))
        blurred += bool((image != edge).any())
    assert blurred / 400 == pytest.approx(0.3, abs=0.07)
