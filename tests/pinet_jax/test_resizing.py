"""The test-time geometry against the reference's resized images and hand-made sizes."""

import numpy as np
import pytest

from pinet_jax.frames import restore_points
from pinet_jax.resizing import resize, resize_matrix, resized_shape
from tests.conftest import golden


@pytest.mark.parametrize("dataset", ["ochuman", "crowdpose", "coco"])
def test_resized_images_are_the_references(dataset):
    figures = golden(f"predict_{dataset}.npz")
    image = figures["image"]
    height, width = resized_shape(*image.shape[:2], int(figures["input_size"]))
    for scale in figures["scales"]:
        expected = figures[f"resized_{scale:g}"]
        assert expected.shape == (height * scale, width * scale, 3)
        np.testing.assert_array_equal(resize(image, expected.shape[:2]), expected)


@pytest.mark.parametrize(
    "size, input_size, expected",
    [
        ((512, 512), 512, (512, 512)),
        ((480, 640), 512, (512, 704)),  # 682.7
        ((640, 480), 500, (704, 512)),
        ((100, 1000), 64, (64, 640)),
        ((1, 1), 512, (512, 512)),
        ((512, 577), 512, (512, 640)),
        ((1024, 1025), 512, (512, 512)),  # 512.5: less than a pixel above, as in the reference
    ],
)
def test_sizes(size, input_size, expected):
    assert resized_shape(*size, input_size) == expected


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (333, 1000), (50, 50)])
@pytest.mark.parametrize("scale", [0.5, 1, 2])
def test_a_white_square_is_found_again_where_it_was(size, scale):
    height, width = size
    center = np.array([width * 0.6, height * 0.4])
    radius = min(size) / 10
    ys, xs = np.mgrid[:height, :width]
    square = (np.abs(xs - center[0]) < radius) & (np.abs(ys - center[1]) < radius)
    image = np.repeat(square[..., None] * np.uint8(255), 3, axis=2)
    shape = tuple(int(side * scale) for side in resized_shape(*size, 128))
    resized = resize(image, shape)[..., 0].astype(float)
    found = np.array([(resized * axis).sum() for axis in np.mgrid[: shape[0], : shape[1]][::-1]])
    restored = restore_points(found / resized.sum(), resize_matrix(size, shape))
    expected = [xs[square].mean(), ys[square].mean()]
    input_pixel = min(size) / min(shape)  # bilinear reading finds an edge to half of one
    np.testing.assert_allclose(restored, expected, atol=0.5 * max(input_pixel, 0.2))
