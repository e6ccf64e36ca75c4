"""The released top-down code's whole test, on real images: crops, keypoints, people."""

import functools
import zlib

import cv2
import jax
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.box_files import ListedImage, read_boxes
from pinet_jax.box_inference import BoxPredictor
from pinet_jax.boxes import CropRegion, affine_of_region, crop
from pinet_jax.inference import cpu_compiler_options
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet
from tests.conftest import shared_data
from tests.topdown import figures, rule_variables

CASES = {
    "res50_coco_bn0.6-0.9": (SimpleBaseline(), "res50_coco", 0.6, 0.9),
    "hrnet_w32_coco_bn0.4-0.6": (TopDownHRNet(), "hrnet_w32_coco", 0.4, 0.6),
}
SHAPE = (256, 192)


@functools.cache
def program(case):
    method, *rule = CASES[case]
    network = method.network()
    variables = rule_variables(network, *rule)
    keypoints = functools.partial(method.keypoints, flip=True)
    apply = jax.jit(nn.apply(keypoints, network), compiler_options=cpu_compiler_options())
    return functools.partial(apply, variables)


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


def predicted(case, images, image_ids, regions):
    """Crops, and keypoints [N, K, 3] in image pixels."""
    affines = [affine_of_region(region, SHAPE) for region in regions]
    crops = np.stack(
        [crop(images[int(i)], affine, SHAPE) for i, affine in zip(image_ids, affines, strict=True)]
    )
    keypoints = np.array(program(case)(crops))
    for points, affine in zip(keypoints, affines, strict=True):
        back = cv2.invertAffineTransform(affine)
        points[:, :2] = points[:, :2] @ back[:, :2].T + back[:, 2]
    return crops, keypoints


@pytest.mark.parametrize("case", CASES)
def test_annotated_boxes(case):
    golden = figures(f"sb_predict_{case}")
    regions = [
        CropRegion(np.float32(center), np.float32(scale))
        for center, scale in zip(golden["gt_center"], golden["gt_scale"], strict=True)
    ]
    crops, keypoints = predicted(case, read_images(golden), golden["gt_image_id"], regions)
    bgr = str(golden["crop_channels"]) == "BGR"
    np.testing.assert_array_equal(crops[..., ::-1] if bgr else crops, golden["gt_crops"])
    np.testing.assert_allclose(keypoints[..., :2], golden["gt_preds"][..., :2], atol=0.05)
    np.testing.assert_allclose(keypoints[..., 2], golden["gt_preds"][..., 2], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("case", CASES)
def test_detected_boxes(case, tmp_path):
    """From a detector's file to result entries: the released code's order, scores and people."""
    golden, (method, *rule) = figures(f"sb_predict_{case}"), CASES[case]
    images = read_images(golden)
    file = tmp_path / "detections.json"
    file.write_text(str(golden["detections_json"]))
    listed = [
        ListedImage(image_id, f"{image_id}.jpg", *image.shape[:2])
        for image_id, image in images.items()
    ]
    found = read_boxes(file, listed)
    assert not found.faults
    predictor = BoxPredictor(method, rule_variables(method.network(), *rule))
    crops = ((i, predictor.prepare(images[i], boxes)) for i, boxes in found.boxes.items())
    people = list(predictor.predict(crops, batch_size=8))
    image_ids = [image_id for image_id, poses in people for _ in poses.scores]
    np.testing.assert_array_equal(image_ids, golden["det_result_image_id"])
    keypoints = np.concatenate([poses.keypoints for _, poses in people])
    expected = golden["det_result_keypoints"]
    np.testing.assert_allclose(keypoints[..., :2], expected[..., :2], atol=0.05)
    np.testing.assert_allclose(keypoints[..., 2], expected[..., 2], rtol=1e-3, atol=1e-4)
    scores = np.concatenate([poses.scores for _, poses in people])
    np.testing.assert_allclose(scores, golden["det_result_score"], rtol=1e-3)
