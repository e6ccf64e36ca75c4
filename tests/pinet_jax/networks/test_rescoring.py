"""The network that scores poses against the released code's."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.networks.rescoring import (
    COCO_RESCORING,
    CROWDPOSE_RESCORING,
    Rescoring,
    pose_features,
)
from tests import baselines
from tests.conftest import golden

FOLDER = "baselines/dekr"


@functools.cache
def params():
    state = baselines.state_dict(f"{FOLDER}/state_dict_dekr_rescore_coco.json")
    layers = ("l1", "l2", "l3")
    return {n: {"kernel": state[f"{n}.weight"].T, "bias": state[f"{n}.bias"]} for n in layers}


@pytest.mark.parametrize("case", range(6))
def test_equals_the_reference(case):
    figures = golden(f"{FOLDER}/nms_coco.npz")
    poses = jnp.asarray(figures[f"case{case}_kept"])
    features = pose_features(poses, COCO_RESCORING)
    np.testing.assert_allclose(features, figures[f"case{case}_feature"], rtol=1e-5, atol=1e-6)
    factors = Rescoring(COCO_RESCORING).apply({"params": params()}, poses)
    np.testing.assert_allclose(factors, figures[f"case{case}_factor"], rtol=1e-4, atol=1e-5)


def test_lengths_have_the_pose_as_their_unit_unless_that_is_less_than_a_pixel():
    poses = jnp.asarray(golden(f"{FOLDER}/nms_coco.npz")["case0_kept"])
    larger = poses * np.array([[[3, 3, 1]]], np.float32)
    np.testing.assert_allclose(
        pose_features(larger, COCO_RESCORING), pose_features(poses, COCO_RESCORING), rtol=1e-4
    )
    point = jnp.zeros((1, 17, 3))
    assert not np.asarray(pose_features(point, COCO_RESCORING)).any()


@pytest.mark.parametrize(
    ("config", "keypoints", "parameters"),
    [(COCO_RESCORING, 17, 85_249), (CROWDPOSE_RESCORING, 14, 81_409)],
)
def test_parameters_are_as_many_as_the_released_codes(config, keypoints, parameters):
    shapes = jax.eval_shape(Rescoring(config).init, jax.random.key(0), jnp.zeros((1, keypoints, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == parameters
