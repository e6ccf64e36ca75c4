"""Top-down networks, against the released code's maps; their names and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.inference import cpu_compiler_options
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.models.config import W32, W48
from pinet_jax.models.folding import fold_batch_norm
from pinet_jax.models.pinet import normalize
from pinet_jax.networks.resnet import RESNET_50, RESNET_101, RESNET_152
from pinet_jax.networks.simple_baseline import SimpleBaseline, TopDownHRNet
from pinet_jax.networks.transposed_convolution import transposed_convolution
from tests.topdown import abstract, figures, rule_state_dict, rule_variables

RES50 = (SimpleBaseline, RESNET_50, "res50_coco", 0.6, 0.9)
W32_NET = (TopDownHRNet, W32, "hrnet_w32_coco", 0.4, 0.6)


@pytest.mark.parametrize(
    ("make", "backbone", "keypoints", "expected"),
    [
        (SimpleBaseline, RESNET_50, 17, 33_999_697),
        (SimpleBaseline, RESNET_50, 14, 33_998_926),
        (SimpleBaseline, RESNET_101, 17, 52_991_825),
        (SimpleBaseline, RESNET_152, 17, 68_635_473),
        (TopDownHRNet, W32, 17, 28_536_113),
        (TopDownHRNet, W32, 14, 28_536_014),
        (TopDownHRNet, W48, 17, 63_595_745),
    ],
)
def test_parameters(make, backbone, keypoints, expected):
    leaves = jax.tree.leaves(abstract(make(backbone, keypoints))["params"])
    assert sum(leaf.size for leaf in leaves) == expected


@pytest.mark.parametrize(("make", "backbone", "name", "low", "high"), [RES50, W32_NET])
def test_the_released_names_come_back(make, backbone, name, low, high):
    state = rule_state_dict(name, low, high)
    again = to_state_dict(rule_variables(make(backbone, 17), name, low, high))
    assert again.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize(("make", "backbone", "name", "low", "high"), [RES50, W32_NET])
def test_heatmaps(make, backbone, name, low, high, folded):
    golden = figures(f"sb_network_{name}_bn{low}-{high}")
    variables = rule_variables(make(backbone, 17), name, low, high)
    if folded:
        variables = fold_batch_norm(variables)
    network = make(backbone, 17, folded=folded)
    program = jax.jit(network.apply, compiler_options=cpu_compiler_options())
    heatmap = program(variables, normalize(golden["image"][None]))
    scale = np.abs(golden["heatmap"]).max()
    np.testing.assert_allclose(heatmap, golden["heatmap"], rtol=0, atol=1e-4 * scale)


def test_transposed_convolution_is_the_gradient_of_a_convolution():
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(2, 3, 5, 4)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(4, 4, 6, 4)), jnp.float32)

    def convolution(y):
        return jax.lax.conv_general_dilated(
            y, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("NHWC", "HWIO", "NHWC")
        )

    _, back = jax.vjp(convolution, jnp.zeros((2, 6, 10, 6)))
    np.testing.assert_allclose(transposed_convolution(x, kernel), back(x)[0], atol=1e-5)
