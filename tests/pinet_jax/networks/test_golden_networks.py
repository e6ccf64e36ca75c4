"""The released model's maps and deltas, from weights made by name."""

import functools

import jax
import numpy as np
import pytest

from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import compiler_options, make_mesh
from tests.conftest import golden
from tests.weights_rule import CONFIGS, state_dict

RTOL = 1e-4  # of each map's scale


@functools.cache
def variables(dataset):
    return from_state_dict(state_dict(dataset), CONFIGS[dataset])


@functools.cache
def outputs(dataset):
    """Backbone and pose generation on the golden image."""
    model = CONFIGS[dataset].network()
    image = normalize(golden(f"network_{dataset}.npz")["image"][None])
    program = jax.jit(model.apply, compiler_options=compiler_options("cpu"))
    return jax.device_get(program(variables(dataset), image))


def assert_close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=RTOL * np.abs(expected).max())


@pytest.mark.parametrize("dataset", CONFIGS)
def test_features_and_maps(dataset):
    figures = golden(f"network_{dataset}.npz")
    features, maps = outputs(dataset)
    assert_close(features, figures["features"])
    for name, actual in maps._asdict().items():
        assert_close(actual.reshape(figures[name].shape), figures[name])


def test_features_and_maps_in_blocks():
    """As a TPU's train step has them."""
    dataset = "crowdpose"
    figures = golden(f"network_{dataset}.npz")
    model = CONFIGS[dataset].network(Compute(tpus=make_mesh(jax.devices()[:1])))
    features, maps = jax.jit(model.apply)(variables(dataset), normalize(figures["image"][None]))
    assert_close(features, figures["features"])
    for name, actual in maps._asdict().items():
        assert_close(actual.reshape(figures[name].shape), figures[name])


@pytest.mark.parametrize("dataset", CONFIGS)
@pytest.mark.parametrize("folded", [False, True])
def test_refinement(dataset, folded):
    figures = golden(f"network_{dataset}.npz")
    model = CONFIGS[dataset].network(Compute(folded=folded))
    weights = fold_batch_norm(variables(dataset)) if folded else variables(dataset)
    refine = jax.jit(functools.partial(model.apply, method="refine"))
    centers = figures["pr_center_yx"].astype(np.int32)
    delta = refine(weights, figures["features"], figures["pr_pose"], centers)
    assert_close(delta, figures["pr_delta"])


def test_folded_normalisations_leave_the_maps_as_they_are():
    dataset = "crowdpose"
    model = CONFIGS[dataset].network(Compute(folded=True))
    program = jax.jit(model.apply, compiler_options=compiler_options("cpu"))
    image = normalize(golden(f"network_{dataset}.npz")["image"][None])
    folded = program(fold_batch_norm(variables(dataset)), image)
    for actual, expected in zip(
        jax.tree.leaves(folded), jax.tree.leaves(outputs(dataset)), strict=True
    ):
        assert_close(actual, expected)
