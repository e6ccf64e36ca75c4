"""The released top-down code's whole test, on real images: crops, keypoints, people."""

import functools
import json
import zlib

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.boxes import CropRegion, affine_of_region, crop, crop_region
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
def test_detected_boxes(case):
    golden, method = figures(f"sb_predict_{case}"), CASES[case][0]
    found = [d for d in json.loads(str(golden["detections_json"])) if d["category_id"] == 1]
    regions = [crop_region(np.array(detection["bbox"]), SHAPE) for detection in found]
    np.testing.assert_array_equal([region.scale for region in regions], golden["det_scale"])
    _, keypoints = predicted(case, read_images(golden), golden["det_image_id"], regions)
    np.testing.assert_allclose(keypoints[..., :2], golden["det_preds"][..., :2], atol=0.05)
    people = jax.jit(method.people)
    image_ids, results, scores = [], [], []
    for image_id in dict.fromkeys(golden["det_image_id"].tolist()):
        chosen = golden["det_image_id"] == image_id
        arrays = keypoints[chosen], golden["det_box_score"][chosen], golden["det_area"][chosen]
        mask = jnp.ones(chosen.sum(), bool)
        kept = people(*(jnp.asarray(array, jnp.float32) for array in arrays), mask)
        mask = np.asarray(kept.mask)
        image_ids += [image_id] * mask.sum()
        results += list(np.asarray(kept.keypoints)[mask])
        scores += list(np.asarray(kept.scores)[mask])
    np.testing.assert_array_equal(image_ids, golden["det_result_image_id"])
    expected = golden["det_result_keypoints"]
    np.testing.assert_allclose(np.array(results)[..., :2], expected[..., :2], atol=0.05)
    np.testing.assert_allclose(scores, golden["det_result_score"], rtol=1e-3)
