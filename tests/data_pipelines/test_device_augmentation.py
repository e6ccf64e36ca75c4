"""Geometry by white spots, which must go where keypoints go; labels that are not known."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.device_augmentation import DeviceAugmentationConfig, Photograph, augment
from pinet_jax.skeletons import COCO_17

SIDE = 96
PLAIN = DeviceAugmentationConfig(
    size=64,
    brightness=0.0,
    contrast=0.0,
    saturation=0.0,
    channel_deviation=0.0,
    grey=0.0,
    blur=0.0,
    noise=0.0,
    erased=0.0,
)
NOSE, LEFT_EYE, RIGHT_EYE = 0, 1, 2


def _photo(points=((NOSE, 50, 40),), ignored=(), partial=False, box=(20, 10, 60, 60)):
    """A dark photograph of 96 x 80 pixels with a bright round spot at each point."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    keypoints = np.zeros((2, 17, 3), np.float32)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for keypoint, x, y in points:
        spot = 255 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 18)
        image = np.maximum(image, spot.round().astype(np.uint8)[..., None])
        keypoints[0, keypoint] = x, y, 2
    boxes = np.zeros((2, 4), np.float32)
    boxes[0] = box
    regions = np.zeros((3, 4), np.float32)
    regions[: len(ignored)] = np.reshape(ignored, (-1, 4))
    size = np.array([80, SIDE], np.float32)
    arrays = (image, size, keypoints, boxes, regions, np.array(partial))
    return Photograph(*(jnp.asarray(array) for array in arrays))


def _with_white_box(photo, x, y, width, height):
    """The photograph with a white box, and a grey rim that is neither in it nor surely out."""
    image = np.zeros((SIDE, SIDE, 3), np.uint8)
    image[y - 1 : y + height + 1, x - 1 : x + width + 1] = 128
    image[y : y + height, x : x + width] = 255
    return photo._replace(image=jnp.asarray(image))


@pytest.fixture(scope="module")
def frames():
    """Many frames of a photograph."""

    @partial(jax.jit, static_argnums=(1, 2))
    def made(photo, config, count):
        keys = jax.random.split(jax.random.key(3), count)
        return jax.vmap(lambda key: augment(key, photo, config, COCO_17))(keys)

    return lambda photo, config=PLAIN, count=48: jax.device_get(made(photo, config, count))


def test_a_white_spot_goes_where_its_keypoint_goes(frames):
    made = frames(_photo())
    seen = 0
    for image, keypoints in zip(made["image"], made["keypoints"], strict=True):
        x, y, v = keypoints[0, NOSE]
        assert v == 2
        if 20 <= x < 44 and 20 <= y < 44:
            bright = image[..., 0].astype(float)
            rows, columns = np.mgrid[:64, :64]
            centre = (bright * columns).sum() / bright.sum(), (bright * rows).sum() / bright.sum()
            np.testing.assert_allclose(centre, (x, y), atol=0.1)
            seen += 1
    assert seen >= 5


def test_a_mirrored_frame_has_left_and_right_exchanged(frames):
    """The left eye is right of the right eye in the photograph, so it is in every frame."""
    config = dataclasses.replace(PLAIN, rotation_deg=0.0)
    made = frames(_photo([(LEFT_EYE, 60, 40), (RIGHT_EYE, 40, 40)]), config)
    eyes = made["keypoints"][:, 0, [LEFT_EYE, RIGHT_EYE], 0]
    assert (eyes[:, 0] > eyes[:, 1]).all()
    # Mirrored images are among them: their pictures differ from those of the same offset.
    assert len({image.tobytes() for image in made["image"]}) == len(made["image"])


def test_areas_grow_with_the_square_of_the_scale(frames):
    made = frames(_photo([(LEFT_EYE, 60, 40), (RIGHT_EYE, 40, 40)]))
    eyes = made["keypoints"][:, 0, [LEFT_EYE, RIGHT_EYE], :2]
    scale = np.linalg.norm(eyes[:, 0] - eyes[:, 1], axis=-1) / 20
    np.testing.assert_allclose(made["area"][:, 0], 3600 * scale**2, rtol=1e-3)
    assert (made["area"][:, 1] == 0).all()
    # The photograph's long side, in frames of 64 pixels, is 0.7 to 2.2 of them.
    assert scale.min() >= 0.7 * 64 / 96 - 1e-3
    assert scale.max() <= 2.2 * 64 / 96 + 1e-3


def test_outside_of_the_photograph_nothing_is_valid(frames):
    white = _photo()._replace(image=jnp.full((SIDE, SIDE, 3), 255, jnp.uint8))
    made = frames(white)
    at_maps = made["image"][:, ::4, ::4, 0]
    assert (made["valid_mask"][at_maps == 255] == 1).all()
    assert (made["valid_mask"][at_maps == 0] == 0).all()
    assert (at_maps == 0).any()


def test_background_is_unknown_in_ignored_regions_alone(frames):
    made = frames(_with_white_box(_photo(ignored=[(20, 30, 30, 30)]), 20, 30, 30, 30))
    at_maps = made["image"][:, ::4, ::4, 0]
    unknown = ~made["background"]
    assert unknown[at_maps == 255].all()
    assert not unknown[at_maps == 0].any()


@pytest.mark.parametrize("partial_labels", [False, True])
def test_unlabelled_keypoints_are_unknown_in_their_persons_box_where_labels_are_partial(
    frames, partial_labels
):
    box = (20, 10, 56, 60)
    made = frames(_with_white_box(_photo(partial=partial_labels, box=box), *box))
    at_maps = made["image"][:, ::4, ::4, 0]
    unknown = ~made["background"]
    assert unknown[at_maps == 255][:, LEFT_EYE].all() == partial_labels
    assert not unknown[at_maps == 0].any()
    assert not unknown[..., NOSE].any()  # labelled
    assert not unknown[..., -1].any()  # parts


def test_colours_change_without_moving_anything(frames):
    lively = DeviceAugmentationConfig(size=64, erased=1.0)
    plain, changed = frames(_photo()), frames(_photo(), lively)
    np.testing.assert_array_equal(changed["keypoints"], plain["keypoints"])
    assert (changed["image"] != plain["image"]).any(axis=(1, 2, 3)).all()


def test_a_photograph_without_people_has_frames_all_the_same(frames):
    made = frames(_photo(points=()))
    assert (made["keypoints"] == 0).all()
    assert np.isfinite(made["area"]).all()
    assert made["valid_mask"].any()
