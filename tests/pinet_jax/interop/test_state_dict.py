"""The reference's names: the released manifest, exact round trips, and refusals with both lists."""

import jax
import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.interop.state_dict import (
    from_state_dict,
    replace_backbone,
    strip_wrappers,
    to_state_dict,
)
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17
from tests.tiny import MICRO
from tests.weights_rule import CONFIGS, manifest, state_dict

MICRO_CONFIG = PINet(COCO_17, backbone=MICRO)


def micro_state(seed=0):
    return to_state_dict(init_variables(MICRO_CONFIG, seed), MICRO_CONFIG)


@pytest.mark.parametrize("dataset", CONFIGS)
def test_names_and_shapes_are_the_released_ones(dataset):
    state = to_state_dict(init_variables(CONFIGS[dataset]), CONFIGS[dataset])
    assert {name: array.shape for name, array in state.items()} == manifest(dataset)


def test_import_and_export_are_exact_inverses():
    state = state_dict("crowdpose")
    back = to_state_dict(from_state_dict(state, CONFIGS["crowdpose"]), CONFIGS["crowdpose"])
    assert back.keys() == state.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], strict=True)


@pytest.mark.parametrize(
    "graph",
    [graphs.none, graphs.dynamic_per_layer, graphs.attention, graphs.nearest_neighbours],
    ids=lambda g: g.__name__,
)
def test_every_graph_variant_goes_out_and_comes_back(graph):
    config = PINet(COCO_17, backbone=MICRO, refinement=RefinementConfig(graph))
    variables = init_variables(config)
    back = from_state_dict(to_state_dict(variables, config), config)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_half_precision_files_become_float32():
    state = {n: a.astype(np.float16) for n, a in micro_state().items()}
    variables = from_state_dict(state, MICRO_CONFIG)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}


def test_what_does_not_fit_is_refused_with_all_lists():
    state = micro_state()
    del state["backbone.conv1.weight"]
    state["pr.adj"] = state["pr.adj"][:5]
    state["head.of.somebody.else"] = np.zeros(3)
    with pytest.raises(InputError) as error:
        from_state_dict(state, MICRO_CONFIG, where="mine.npz")
    message = str(error.value)
    assert "\n" not in message and message.startswith("mine.npz")
    assert "missing [backbone.conv1.weight]" in message
    assert "unexpected [head.of.somebody.else]" in message
    assert "of another shape [pr.adj (5, 17) for (17, 17)]" in message


def test_counters_may_be_absent_but_not_misplaced():
    state = {n: a for n, a in micro_state().items() if not n.endswith("num_batches_tracked")}
    from_state_dict(state, MICRO_CONFIG)
    with pytest.raises(InputError, match="unexpected"):
        from_state_dict(state | {"ppg.num_batches_tracked": np.zeros(())}, MICRO_CONFIG)


@pytest.mark.parametrize("wrapper", ["state_dict", "best_state_dict"])
def test_wrappers_and_prefixes_come_off(wrapper):
    state = micro_state()
    wrapped = {"epoch": 3, wrapper: {f"module.{name}": array for name, array in state.items()}}
    assert strip_wrappers(wrapped).keys() == state.keys()


def test_the_best_weights_are_taken_where_a_file_has_two():
    assert strip_wrappers({"state_dict": {"a": 1}, "best_state_dict": {"b": 2}}) == {"b": 2}


def test_an_imagenet_file_replaces_the_backbone_alone():
    variables = init_variables(MICRO_CONFIG, seed=0)
    published = {
        name.removeprefix("backbone."): array
        for name, array in micro_state(seed=1).items()
        if name.startswith("backbone.")
    }
    classifier = {"classifier.weight": np.zeros((1000, 8)), "incre_modules.0.0.conv1.weight": 0}
    replaced = replace_backbone(variables, published | classifier, MICRO_CONFIG)
    other = init_variables(MICRO_CONFIG, seed=1)
    assert_equal = lambda a, b: jax.tree.map(np.testing.assert_array_equal, a, b)  # noqa: E731
    assert_equal(replaced["params"]["backbone"], other["params"]["backbone"])
    assert_equal(replaced["params"]["pr"], variables["params"]["pr"])
    assert_equal(replaced["params"]["ppg"], variables["params"]["ppg"])
    with pytest.raises(InputError, match=r"unexpected \[backbone\.conv1\.bias\]"):
        replace_backbone(variables, published | {"conv1.bias": np.zeros(1)}, MICRO_CONFIG)
    whole = replace_backbone(variables, micro_state(seed=1), MICRO_CONFIG)  # with its heads
    assert_equal(whole, replaced)
    assert_equal(replace_backbone(variables, published | {"head.w": 0}, MICRO_CONFIG), replaced)
    del published["conv1.weight"]
    with pytest.raises(InputError, match=r"missing \[backbone\.conv1\.weight\]"):
        replace_backbone(variables, published, MICRO_CONFIG)
