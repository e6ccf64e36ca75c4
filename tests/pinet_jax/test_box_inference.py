"""Boxes in, poses out: batches, devices and paddings change nothing."""

import functools

import jax
import numpy as np
import pytest

from pinet_jax.box_inference import BoxPredictor
from pinet_jax.boxes import Boxes
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet
from pinet_jax.models.config import HRNetConfig
from pinet_jax.networks.resnet import ResNetConfig
from tests.topdown import abstract

SHAPE = (64, 32)
RESNET = SimpleBaseline(backbone=ResNetConfig(width=4, blocks=(1, 1, 1, 1)), crop_shape=SHAPE)
HRNET = TopDownHRNet(
    backbone=HRNetConfig(
        stem_width=8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1,), blocks=1
    ),
    crop_shape=SHAPE,
)


@functools.cache
def lively(method):
    """Variables that are random enough to find something everywhere."""
    rng = np.random.default_rng(0)

    def drawn(path, leaf):
        if leaf.ndim < 4:
            return np.full(leaf.shape, path[-1].key in ("scale", "var"), np.float32)
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype("f4")

    return jax.tree_util.tree_map_with_path(drawn, abstract(method.network()))


@functools.cache
def predictor(method, devices=1):
    return BoxPredictor(method, lively(method), devices=jax.devices()[:devices])


def images(counts=(3, 0, 9, 1)):
    rng = np.random.default_rng(1)
    for name, count in enumerate(counts):
        image = rng.integers(0, 256, (60, 90, 3), np.uint8)
        corners = rng.uniform(0, 40, (count, 2))
        xywh = np.concatenate([corners, rng.uniform(5, 40, (count, 2))], axis=1)
        yield name, image, Boxes(xywh, rng.uniform(0.1, 1, count).astype(np.float32))


def predicted(ready, batch_size):
    crops = ((name, ready.prepare(image, boxes)) for name, image, boxes in images())
    return dict(ready.predict(crops, batch_size))


@pytest.mark.parametrize("method", [RESNET, HRNET], ids=["resnet", "hrnet"])
def test_batches_are_shared_by_images_and_change_nothing(method):
    together = predicted(predictor(method), 8)
    alone = {}
    for name, image, boxes in images():
        ready = predictor(method)
        alone |= dict(ready.predict([(name, ready.prepare(image, boxes))], 8))
    assert list(together) == [0, 1, 2, 3]
    assert len(together[1].scores) == 0 and 1 <= len(together[2].scores) <= 9
    for name, poses in together.items():
        np.testing.assert_allclose(poses.keypoints, alone[name].keypoints, atol=1e-3)
        assert (np.diff(poses.scores) <= 0).all()


def test_several_devices_share_a_batch():
    one, four = predicted(predictor(RESNET), 8), predicted(predictor(RESNET, 4), 8)
    for name, poses in one.items():
        np.testing.assert_allclose(poses.keypoints, four[name].keypoints, atol=1e-3)


def test_padding_to_the_next_program_changes_nobody():
    ready = predictor(RESNET)
    _, image, boxes = list(images())[2]
    nine = ready.prepare(image, boxes)
    keypoints = ready._run(nine.pixels[:8])
    eight = type(nine)(*(part[:8] for part in nine))
    poses = ready._poses(eight, keypoints)
    scores = ready._poses(nine, np.concatenate([keypoints, keypoints[:1] * 0])).scores
    np.testing.assert_array_equal(poses.scores, scores[: len(poses.scores)])


def test_keypoints_come_back_to_where_their_pixels_were():
    """A crop's corner is the region's corner, and its middle the box's."""
    _, image, boxes = next(images())
    crops = predictor(RESNET).prepare(image, boxes)
    points = np.full((3, 17, 3), 0.5, np.float32)
    points[..., :2] = [SHAPE[1] / 2, SHAPE[0] / 2]
    middle = boxes.xywh[:, :2] + boxes.xywh[:, 2:] / 2
    restored = crops.restored(points)
    np.testing.assert_allclose(restored[:, 0, :2], middle, atol=1e-3)
    np.testing.assert_array_equal(restored[..., 2], points[..., 2])
    wide = np.maximum(boxes.xywh[:, 2:], boxes.xywh[:, :1:-1] * [0.5, 2]).prod(axis=1) * 1.25**2
    np.testing.assert_allclose(crops.area, wide, rtol=1e-5)
