"""Top-down networks, against the released code's maps; their names and sizes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.interop.state_dict import replace_backbone, to_state_dict
from pinet_jax.methods.base import abstract_variables
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.resnet import RESNET_101, RESNET_152
from pinet_jax.networks.transposed_convolution import transposed_convolution
from pinet_jax.runtime import compiler_options
from pinet_jax.skeletons import CROWDPOSE_14
from tests.topdown import CASES, figures, rule_state_dict, rule_variables

W48 = HRNetConfig(width=48, concatenated=False)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        (SimpleBaseline(), 33_999_697),
        (SimpleBaseline(CROWDPOSE_14), 33_998_926),
        (SimpleBaseline(backbone=RESNET_101), 52_991_825),
        (SimpleBaseline(backbone=RESNET_152), 68_635_473),
        (TopDownHRNet(), 28_536_113),
        (TopDownHRNet(CROWDPOSE_14), 28_536_014),
        (TopDownHRNet(backbone=W48), 63_595_745),
    ],
)
def test_parameters(method, expected):
    leaves = jax.tree.leaves(abstract_variables(method)["params"])
    assert sum(leaf.size for leaf in leaves) == expected


@pytest.mark.parametrize("case", CASES)
def test_the_released_names_come_back(case):
    method, *rule = CASES[case]
    state = rule_state_dict(*rule)
    again = to_state_dict(rule_variables(case), method)
    assert again.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(again[key], array, err_msg=key)


@pytest.mark.parametrize("case", CASES)
def test_the_published_imagenet_network_becomes_the_backbone(case):
    """With its classifier, and an HRNet with the fusions that a single output has no use for."""
    method, *rule = CASES[case]
    state = rule_state_dict(*rule)
    published = {
        key: array + 1
        for key, array in state.items()
        if not key.startswith(("deconv_layers.", "final_layer."))
    }
    if isinstance(method, SimpleBaseline):
        published["fc.weight"] = np.zeros((1000, 2048), np.float32)
    else:
        published["stage4.2.fuse_layers.1.0.0.0.weight"] = np.zeros((64, 32, 3, 3), np.float32)
        published["classifier.bias"] = np.zeros(1000, np.float32)
    started = to_state_dict(replace_backbone(rule_variables(case), published, method), method)
    for key in ("conv1.weight", "bn1.running_var"):
        np.testing.assert_array_equal(started[key], state[key] + 1)
    np.testing.assert_array_equal(started["final_layer.bias"], state["final_layer.bias"])


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_heatmaps(case, folded):
    golden, method, variables = figures(f"sb_network_{case}"), CASES[case][0], rule_variables(case)
    if folded:
        variables = fold_batch_norm(variables)
    network = method.network(Compute(folded=folded))
    program = jax.jit(network.apply, compiler_options=compiler_options("cpu"))
    # The figures' channels went to the network in the order in which they are stored.
    pixels = golden["image"][None, ..., ::-1] if method.reads_bgr else golden["image"][None]
    heatmap = program(variables, method.normalized(jnp.asarray(pixels)))
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
