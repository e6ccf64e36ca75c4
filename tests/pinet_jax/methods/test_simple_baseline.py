"""The released top-down code's whole test on real images; batches, devices, paddings."""

import functools
import zlib

import cv2
import jax
import numpy as np
import pytest

from pinet_jax.box_files import ListedImage, read_boxes
from pinet_jax.errors import InputError
from pinet_jax.frames import Frame
from pinet_jax.inference import Predictor
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet, TopDownInference
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.resnet import ResNetConfig
from pinet_jax.poses import Poses
from tests.conftest import shared_data
from tests.topdown import CASES, figures, rule_variables

SHAPE = (64, 32)
RESNET = SimpleBaseline(
    backbone=ResNetConfig(base_width=4, bottlenecks=(1, 1, 1, 1)), crop_shape=SHAPE
)
HRNET = TopDownHRNet(
    backbone=HRNetConfig(
        stem_width=8,
        bottleneck_width=4,
        bottlenecks=1,
        width=4,
        modules=(1,),
        blocks=1,
        concatenated=False,
    ),
    crop_shape=SHAPE,
)


@functools.cache
def golden_predictor(case):
    return Predictor(CASES[case][0], rule_variables(case))


def read_images(golden):
    """RGB by image id; the released code's decoder gives the same pixels."""
    images = {}
    for name, image_id, checksum in zip(
        golden["image_file"], golden["image_ids"], golden["image_bgr_crc32"], strict=True
    ):
        path = shared_data("coco", "val2017", str(name))
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert zlib.crc32(bgr.tobytes()) == checksum
        images[int(image_id)] = np.ascontiguousarray(bgr[..., ::-1])
    return images


def check_results(golden, prefix, people):
    """The released code's order, scores and people."""
    image_ids = [image_id for image_id, poses in people for _ in poses.scores]
    np.testing.assert_array_equal(image_ids, golden[f"{prefix}_result_image_id"])
    keypoints = np.concatenate([poses.keypoints for _, poses in people])
    expected = golden[f"{prefix}_result_keypoints"]
    np.testing.assert_allclose(keypoints[..., :2], expected[..., :2], atol=0.05)
    np.testing.assert_allclose(keypoints[..., 2], expected[..., 2], rtol=1e-3, atol=1e-4)
    scores = np.concatenate([poses.scores for _, poses in people])
    np.testing.assert_allclose(scores, golden[f"{prefix}_result_score"], rtol=1e-3)


@pytest.mark.parametrize("case", CASES)
def test_detected_boxes(case, tmp_path):
    golden, predictor = figures(f"sb_predict_{case}"), golden_predictor(case)
    images = read_images(golden)
    file = tmp_path / "detections.json"
    file.write_text(str(golden["detections_json"]))
    listed = [
        ListedImage(image_id, f"{image_id}.jpg", *image.shape[:2])
        for image_id, image in images.items()
    ]
    found = read_boxes(file, listed)
    assert not found.faults
    people = predictor.predict_batch(
        [images[i] for i in found.boxes], 8, list(found.boxes.values())
    )
    check_results(golden, "det", list(zip(found.boxes, people, strict=True)))


@pytest.mark.parametrize("case", CASES)
def test_annotated_boxes(case):
    golden, predictor = figures(f"sb_predict_{case}"), golden_predictor(case)
    images = read_images(golden)
    listed = [
        ListedImage(int(image_id), str(name), *images[int(image_id)].shape[:2])
        for name, image_id in zip(golden["image_file"], golden["image_ids"], strict=True)
    ]
    annotations = shared_data("coco", "annotations", "person_keypoints_val2017.json")
    found = read_boxes(annotations, listed).boxes
    frames = [
        frame.pixels[0]
        for image_id in dict.fromkeys(golden["gt_image_id"].tolist())
        for frame in predictor.method.frames(images[image_id], None, found[image_id])
    ]
    crops = golden["gt_crops"][..., :: -1 if predictor.method.reads_bgr else 1]
    np.testing.assert_array_equal(frames, crops)
    ids = list(dict.fromkeys(golden["gt_result_image_id"].tolist()))
    people = predictor.predict_batch([images[i] for i in ids], 8, [found[i] for i in ids])
    check_results(golden, "gt", list(zip(ids, people, strict=True)))


@functools.cache
def predictor(method, devices=1):
    """Of a network that is random enough to find something everywhere."""
    rng = np.random.default_rng(0)

    def enlarged(leaf):
        if leaf.ndim < 4:
            return leaf
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype("f4")

    variables = jax.tree.map(enlarged, init_variables(method))
    return Predictor(method, variables, devices=jax.devices()[:devices])


def images_and_boxes(counts=(3, 0, 9, 1)):
    rng = np.random.default_rng(1)
    images = [rng.integers(0, 256, (60, 90, 3), np.uint8) for _ in counts]
    boxes = [
        np.concatenate(
            [rng.uniform(0, 40, (n, 2)), rng.uniform(5, 40, (n, 2)), rng.random((n, 1))], 1
        )
        for n in counts
    ]
    return images, boxes


@pytest.mark.parametrize("method", [RESNET, HRNET], ids=["resnet", "hrnet"])
def test_batches_are_shared_by_images_and_change_nothing(method):
    images, boxes = images_and_boxes()
    together = predictor(method).predict_batch(images, 8, boxes)
    assert len(together[1].scores) == 0 and 1 <= len(together[2].scores) <= 9
    for poses, image, own in zip(together, images, boxes, strict=True):
        alone = predictor(method).predict_batch([image], 8, [own])[0]
        np.testing.assert_allclose(poses.keypoints, alone.keypoints, atol=1e-3)
        assert (np.diff(poses.scores) <= 0).all()


def test_frames_of_a_stream_fill_batches_whatever_image_they_are_from():
    images, boxes = images_and_boxes()
    ready = predictor(RESNET)
    stream = (
        (name, ready.method.frames(image, ready.inference, own))
        for name, (image, own) in enumerate(zip(images, boxes, strict=True))
    )
    found = list(ready.predict_stream(stream, 4))
    assert [name for name, _ in found] == [0, 1, 2, 3]
    together = ready.predict_batch(images, 4, boxes)
    for (_, stages), poses in zip(found, together, strict=True):
        np.testing.assert_allclose(stages["final"].keypoints, poses.keypoints, atol=1e-3)


def test_several_devices_share_a_batch():
    images, boxes = images_and_boxes()
    one, four = (predictor(RESNET, n).predict_batch(images, 8, boxes) for n in (1, 4))
    for poses, others in zip(one, four, strict=True):
        np.testing.assert_allclose(poses.keypoints, others.keypoints, atol=1e-3)


def test_without_boxes_it_says_what_to_give():
    images, _ = images_and_boxes((1,))
    with pytest.raises(InputError, match="needs people's boxes: of annotations"):
        predictor(RESNET).predict(images[0])


def test_a_program_for_more_boxes_finds_the_same_people():
    """The eight best of nine boxes: the ninth, of score 0, is far away from all others."""
    rng = np.random.default_rng(2)
    points = rng.uniform(0, 100, (9, 1, 17, 2)).astype(np.float32)
    points[8] += 1e4
    found = [
        {"final": Poses(np.concatenate([p, np.ones((1, 17, 1), "f4")], -1), np.ones(1, "f4"))}
        for p in points
    ]
    matrix = np.eye(2, 3)
    frames = [Frame((), matrix, np.array([0, 0, 9, 9, score])) for score in np.linspace(1, 0, 9)]
    inference = TopDownInference()
    eight = RESNET.image_poses(found[:8], frames[:8], inference)["final"]
    nine = RESNET.image_poses(found, frames, inference)["final"]
    np.testing.assert_array_equal(nine.scores[:-1], eight.scores)
    np.testing.assert_array_equal(nine.keypoints[:-1], eight.keypoints)
    np.testing.assert_allclose(eight.scores, np.linspace(1, 0, 9)[:8], rtol=1e-6)


def test_area_is_that_of_the_enlarged_box():
    _, boxes = images_and_boxes((5,))
    frames = RESNET.frames(np.zeros((60, 90, 3), np.uint8), None, boxes[0])
    for frame in frames:
        _, _, width, height, _ = frame.box
        wanted = max(width, height / 2) * max(height, width * 2) * 1.25**2
        np.testing.assert_allclose(RESNET.area(frame), wanted, rtol=1e-5)
