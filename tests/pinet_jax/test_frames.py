"""A method whose frames are boxes: batched over images, restored by each frame's own map."""

import dataclasses
from typing import ClassVar

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.errors import InputError
from pinet_jax.frames import Frame, restore_points, stack_frames
from pinet_jax.inference import Predictor
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.networks import initializers
from pinet_jax.networks.hrnet import W32, HRNetConfig
from pinet_jax.poses import Poses, PoseSet
from pinet_jax.skeletons import Skeleton

SIDE = 32
POINT = Skeleton("point", ("point",), (), (0.1,), ())


@dataclasses.dataclass(frozen=True)
class Brightest(Method):
    """A box's brightest pixel is its person."""

    needs_boxes: ClassVar[bool] = True
    skeleton: Skeleton = POINT
    backbone: HRNetConfig = W32

    def network(self, compute=None):
        del compute
        return nn.Dense(1, kernel_init=initializers.constant(1), bias_init=initializers.zeros)

    def losses(self, net, batch):
        raise NotImplementedError

    def frame_shapes(self, image_shape, inference):
        del image_shape, inference
        return ((SIDE, SIDE),)

    def frames(self, image, inference, boxes=None):
        del inference
        if boxes is None:
            raise InputError("give boxes")
        return [self._frame(image, box) for box in boxes]

    def _frame(self, image, box):
        zoom = SIDE / box[2:4].max()
        matrix = np.array([[zoom, 0, -zoom * box[0]], [0, zoom, -zoom * box[1]]])
        return Frame((cv2.warpAffine(image, matrix, (SIDE, SIDE)),), matrix, box)

    def poses(self, net, frames, inference):
        del inference
        (pixels,) = frames.pixels
        scores = net(pixels.astype(jnp.float32))[..., 0].reshape(len(pixels), -1)
        place = scores.argmax(axis=1)
        found = (place % SIDE, place // SIDE, scores.max(axis=1))
        keypoints = jnp.stack([x.astype(jnp.float32) for x in found], axis=-1)[:, None, None]
        mask = keypoints[..., 0, 2] > 0
        return {"final": PoseSet(keypoints, keypoints[..., 0, 2], mask)}

    def image_poses(self, found, frames, inference):
        """All of the image, the best box first."""
        del inference
        order = np.argsort([-frame.box[4] for frame in frames])
        keypoints = [found[i]["final"].keypoints for i in order]
        scores = [found[i]["final"].scores * frames[i].box[4] for i in order]
        shape = (0, 1, 3)
        return {
            "final": Poses(np.concatenate([np.zeros(shape), *keypoints]), np.hstack([[], *scores]))
        }

    def modules(self, shape):
        raise NotImplementedError


def predictor(devices=None):
    variables = initializers.draw_variables(Brightest().network())
    return Predictor(Brightest(), variables, devices=devices)


def picture(*points, size=(90, 120)):
    """Black, with a bright patch at every point."""
    image = np.zeros((*size, 3), np.uint8)
    for x, y in points:
        image[y - 2 : y + 3, x - 2 : x + 3] = 150
        image[y, x] = 255
    return image


POINTS = ((30, 20), (90, 60), (100, 30))
BOXES = np.array([[20, 12, 24, 24, 0.5], [80, 45, 28, 30, 0.9], [90, 22, 16, 16, 0.7]])


@pytest.mark.parametrize("devices", [1, 8])
@pytest.mark.parametrize("batch_size", [None, 2, 3])
def test_poses_go_back_by_the_map_of_their_own_box(batch_size, devices):
    images = [picture(*POINTS), picture(*POINTS[:1]), picture()]
    boxes = [BOXES, BOXES[:1], BOXES[:0]]
    chosen = predictor(jax.devices()[:devices])
    prepared = chosen.prepare(images, batch_size, boxes)
    sizes = {len(batch.matrix) for batch in prepared.batches}
    wanted = -(-(batch_size or 4) // devices) * devices
    assert sizes == {wanted} and len(prepared.batches) == -(-4 // wanted)
    assert all(frame.pixels == () for frames in prepared.frames for frame in frames)
    found = [stages["final"] for stages in chosen.predict_prepared(prepared)]
    best_first = [POINTS[1], POINTS[2], POINTS[0]]
    np.testing.assert_allclose(found[0].keypoints[:, 0, :2], best_first, atol=1)
    np.testing.assert_allclose(found[1].keypoints[:, 0, :2], POINTS[:1], atol=1)
    assert len(found[2].scores) == 0


def test_a_method_that_needs_boxes_says_so():
    with pytest.raises(InputError, match="give boxes"):
        predictor().predict(picture(*POINTS))
    assert len(predictor().predict(picture(*POINTS), BOXES).scores) == 3


def test_a_base_test_procedure_serves_a_method_without_fields_of_its_own():
    assert predictor().inference == InferenceConfig()


def test_points_go_through_a_map_and_back():
    matrix = np.array([[2.0, 0.5, 3.0], [-0.5, 2.0, 1.0]])
    points = np.random.default_rng(0).normal(size=(4, 5, 2))
    there = points @ matrix[:, :2].T + matrix[:, 2]
    np.testing.assert_allclose(restore_points(there, matrix), points, atol=1e-12)


def test_a_batch_is_padded_with_black():
    frame = Frame((np.ones((4, 6, 3), np.uint8), np.ones((2, 3, 3), np.uint8)), np.ones((2, 3)))
    batch = stack_frames([frame, frame], 5)
    assert [x.shape for x in batch.pixels] == [(5, 4, 6, 3), (5, 2, 3, 3)]
    assert batch.matrix.dtype == np.float32
    for array in (*batch.pixels, batch.matrix):
        assert array[:2].all() and not array[2:].any()
    assert frame.shapes == ((4, 6), (2, 3))
