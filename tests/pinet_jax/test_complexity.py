"""Counts against sums by hand, the released code's totals and a formula of HRNet's own."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from pinet_jax.complexity import Complexity, count_compiled, count_complexity, count_layers
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import abstract_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks import graphs
from pinet_jax.networks.hrnet import W32, HRNetConfig
from pinet_jax.networks.refinement import GraphMixing, RefinementConfig
from pinet_jax.skeletons import COCO_17
from tests.conftest import golden_path
from tests.tiny import MICRO
from tests.weights_rule import CONFIGS


def count(layer: nn.Module, *shapes):
    inputs = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    variables = jax.eval_shape(layer.init, jax.random.key(0), *inputs)
    flops = count_compiled(layer.apply, variables, *inputs)
    return *count_layers(layer.apply, variables, *inputs), flops


def test_a_convolution_by_hand():
    """8 x 6 positions; along the sides 3 * 8 - 2 = 22 and 3 * 6 - 2 = 16 taps are inside."""
    conv = nn.Conv(5, (3, 3), padding=1, use_bias=False)
    assert count(conv, (1, 8, 6, 7)) == (
        8 * 6 * 9 * 35,
        (8 * 6 * 9 - 22 * 16) * 35,
        2 * 22 * 16 * 35,
    )


def test_a_strided_convolution_by_hand():
    """4 x 3 positions out; only the first along a side meets padding: 11 and 8 taps are inside."""
    conv = nn.Conv(5, (3, 3), strides=2, padding=1, use_bias=False)
    assert count(conv, (2, 8, 6, 7)) == (2 * 12 * 9 * 35, 2 * (108 - 88) * 35, 2 * 2 * 88 * 35)


def test_a_dense_layer_and_a_graph_convolution_by_hand():
    assert count(nn.Dense(5, use_bias=False), (4, 7)) == (4 * 7 * 5, 0, 2 * 4 * 7 * 5)
    # 2 poses of 3 keypoints with 4 channels: X W, G (X W), and the bias, which is no product.
    products = 2 * 3 * 4 * 4 + 2 * 3 * 3 * 4
    assert count(GraphMixing(), (1, 2, 3, 4), (3, 3)) == (products, 0, 2 * products + 2 * 3 * 4)


@functools.cache
def counted(config: PINet, *shape: int) -> dict[str, Complexity]:
    return count_complexity(config, shape)


def in_all(field: str, counts: dict[str, Complexity]) -> float:
    return sum(getattr(count, field) for count in counts.values())


@pytest.mark.parametrize(
    ("dataset", "millions"), [("ochuman", 31.70), ("crowdpose", 31.68), ("coco", 31.23)]
)
def test_parameters_are_the_released_codes(dataset, millions):
    """Of the abstract variables: nothing is compiled."""
    params = abstract_variables(CONFIGS[dataset])["params"]
    number = sum(math.prod(x.shape) for x in jax.tree.leaves(params))
    names = json.loads(golden_path(f"state_dict_{dataset}.json").read_text())
    buffers = ("running_mean", "running_var", "num_batches_tracked")
    assert number == sum(math.prod(s) for n, s in names.items() if not n.endswith(buffers))
    assert round(number / 1e6, 2) == millions


def test_the_papers_network_at_the_papers_size():
    counts = counted(PINet(), 512, 512)
    alone = {name: counts[name] for name in ("backbone", "pose generation")}
    assert round(in_all("parameters", counts) / 1e6, 2) == 31.70
    assert round(in_all("parameters", alone) / 1e6, 2) == 29.36
    # The paper's 42.4 G; what else it counts, it does not say.
    assert in_all("multiply_adds", alone) == pytest.approx(42.4e9, rel=0.01)


@pytest.mark.parametrize(
    ("config", "shape"),
    [(PINet(), (512, 512)), (PINet(backbone=MICRO), (64, 96))],
    ids=["W32", "micro"],
)
def test_layers_and_compiled_program_agree(config, shape):
    """The program has little beside its layers' products, but never less than these."""
    for name, module in counted(config, *shape).items():
        beside_layers = module.compiled - (module.multiply_adds - module.on_padding)
        # Channels by the dozen leave no share for sums and upsampling; four channels do.
        most = 0.011 if config.backbone == W32 else 1
        assert 0 < beside_layers < most * module.multiply_adds, name


@pytest.mark.parametrize(
    ("backbone", "shape"), [(W32, (512, 512)), (MICRO, (64, 96))], ids=["W32", "micro"]
)
def test_the_backbone_against_a_formula(backbone, shape):
    found = counted(PINet(backbone=backbone), *shape)["backbone"]
    assert found.multiply_adds == sum(backbone_convolutions(backbone, math.prod(shape)))


def backbone_convolutions(config: HRNetConfig, pixels: int):
    """Products of every convolution, from the paper's description of HRNet."""

    def products(scale, size, channels, out):  # at 1 / scale of the image's resolution
        return pixels // scale**2 * size**2 * channels * out

    stem, narrow = config.stem_width, config.bottleneck_width
    yield products(2, 3, 3, stem)
    yield products(4, 3, stem, stem)
    for block in range(config.bottlenecks):
        before = stem if block == 0 else 4 * narrow
        yield products(4, 1, before, narrow)
        yield products(4, 3, narrow, narrow)
        yield products(4, 1, narrow, 4 * narrow)
        if before != 4 * narrow:
            yield products(4, 1, before, 4 * narrow)
    widths, lowest = [4 * narrow], 4 * narrow
    for modules in config.modules:
        if len(widths) == 1 and widths[0] != config.width:
            yield products(4, 3, widths[0], config.width)
            widths = [config.width]
        scale = 4 * 2 ** len(widths)
        yield products(scale, 3, lowest, 2 * widths[-1])
        widths.append(2 * widths[-1])
        lowest = widths[-1]
        for _ in range(modules):
            for i, width in enumerate(widths):
                yield 2 * config.blocks * products(4 * 2**i, 3, width, width)
                for j, other in enumerate(widths):
                    if j > i:
                        yield products(4 * 2**j, 1, other, width)
                    for step in range(j + 1, i + 1):
                        yield products(4 * 2**step, 3, other, width if step == i else other)


@pytest.mark.parametrize("graph", [graphs.attention, graphs.nearest_neighbours, graphs.none])
def test_any_graph_and_partition_is_counted(graph):
    """An adjacency made of the features is in the compiled count alone."""
    config = PINet(COCO_17, "center", MICRO, RefinementConfig(graph, blocks=1))
    refinement = counted(config, 64, 64)["refinement"]
    poses, keypoints, width = 30, 17, MICRO.features
    layers = 3 * poses * keypoints * width * (width + keypoints)
    predictor = poses * (3 * width * width + width * 2 * keypoints)
    assert refinement.multiply_adds == layers + predictor
    adjacency = 3 * poses * keypoints**2 * (width // 8 if graph == graphs.attention else 0)
    assert refinement.compiled > refinement.multiply_adds + adjacency


def test_without_refinement_there_is_none():
    config = PINet(backbone=MICRO, refinement=None)
    assert list(counted(config, 32, 64)) == ["backbone", "pose generation"]


@pytest.mark.parametrize("shape", [(500, 512), (0, 32), (-32, 32)])
def test_sizes_that_fit_no_network_are_refused(shape):
    with pytest.raises(UsageError, match=r"size .*: use multiples of 32"):
        count_complexity(PINet(backbone=MICRO), shape)


def test_the_heads_by_hand():
    found = counted(PINet(backbone=MICRO), 64, 96)["pose generation"]
    outputs = 17 + 3 + 3 * 17 * 2
    assert found.parameters == MICRO.features * outputs + outputs
    assert found.multiply_adds == 16 * 24 * MICRO.features * outputs
