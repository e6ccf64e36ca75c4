"""A network's first variables, drawn on the host: compiling `init` would take a minute."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.models.config import PINetConfig
from pinet_jax.models.graphs import Initial
from pinet_jax.models.pinet import Variables, abstract_variables


def init_variables(config: PINetConfig, seed: int = 0) -> Variables:
    """The variables a training starts from.

    Args:
        config: the network.
        seed: of the random numbers.

    Returns:
        NumPy arrays, float32, under "params" and "batch_stats".

    References:
        Section 1 of the released code's facts: convolutions normal(0.001) with zero bias, graph
        convolutions Xavier-uniform with gain 1.414 and bias uniform(+-1 / sqrt(width)), the
        predictor's two layers as torch's convolutions are by default.
    """
    rng = np.random.default_rng(seed)
    abstract = abstract_variables(config)
    params = _initial_params(abstract["params"], rng)
    if config.refinement is not None:
        params["pr"] |= _graph_params(config, rng)
    return {"params": params, "batch_stats": _initial_statistics(abstract["batch_stats"])}


def _initial_params(tree: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    leaves = {name: node.shape for name, node in tree.items() if not isinstance(node, dict)}
    inner = {n: _initial_params(node, rng) for n, node in tree.items() if isinstance(node, dict)}
    return inner | _initial_layer(leaves, rng)


def _initial_layer(
    shapes: dict[str, tuple[int, ...]], rng: np.random.Generator
) -> dict[str, np.ndarray]:
    """One layer's arrays; what it is can be told from their names and shapes."""
    if "scale" in shapes:  # a normalisation
        return {"scale": _full(shapes["scale"], 1), "bias": _full(shapes["bias"], 0)}
    if "weight" in shapes:  # a graph convolution
        width_in, width_out = shapes["weight"]
        bound = 1.414 * math.sqrt(6 / (width_in + width_out))
        return {
            "weight": _uniform(rng, bound, shapes["weight"]),
            "bias": _uniform(rng, 1 / math.sqrt(width_out), shapes["bias"]),
        }
    if "kernel" in shapes and len(shapes["kernel"]) == 2:  # a layer of the predictor
        bound = 1 / math.sqrt(shapes["kernel"][0])
        return {name: _uniform(rng, bound, shape) for name, shape in sorted(shapes.items())}
    if "kernel" in shapes:  # a convolution of the backbone or a head
        kernel = (0.001 * rng.standard_normal(shapes["kernel"])).astype(np.float32)
        bias = {"bias": _full(shapes["bias"], 0)} if "bias" in shapes else {}
        return {"kernel": kernel} | bias
    return {}


def _graph_params(config: PINetConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The arrays that the graph function asks for, as it wants them to start."""
    assert config.refinement is not None
    refinement, arrays = config.refinement, {}

    def param(name: str, initial: Initial) -> jax.Array:
        if name not in arrays:
            arrays[name] = np.asarray(initial(rng), np.float32)
        return jnp.asarray(arrays[name])

    def ask(nodes: jax.Array) -> list[jax.Array]:
        layers = range(1 + 2 * refinement.blocks)
        return [refinement.graph(param, config.skeleton, nodes, layer) for layer in layers]

    nodes = (1, 1, config.skeleton.num_keypoints, config.backbone.features)
    jax.eval_shape(ask, jax.ShapeDtypeStruct(nodes, jnp.float32))
    return arrays


def _initial_statistics(tree: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _initial_statistics(node)
        if isinstance(node, dict)
        else _full(node.shape, 1 if name == "var" else 0)
        for name, node in tree.items()
    }


def _full(shape: tuple[int, ...], value: float) -> np.ndarray:
    return np.full(shape, value, np.float32)


def _uniform(rng: np.random.Generator, bound: float, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(-bound, bound, shape).astype(np.float32)
