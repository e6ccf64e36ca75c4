"""A network's first variables, drawn on the host: compiling `init` would take a minute."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.models.config import PINetConfig
from pinet_jax.models.graphs import Initial
from pinet_jax.models.pinet import Variables, abstract_variables

# The normalisation at the end of a block's branch; of what one resolution is told by another.
_END_OF_BLOCK = re.compile(r"layer1\.\d+/bn3/|branches\.\d+\.\d+/bn2/")
_NORM_OF_FUSION = re.compile(r"fuse_layers\.(\d+)\.(\d+)\.(?:(\d+)\.)?1/")


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


def deepened(variables: Variables, config: PINetConfig, seed: int = 0) -> Variables:
    """A deeper network that computes the same as a trained one, to go on training with.

    Further blocks and modules begin as identities: what they add to their input ends in a
    normalisation, and its scale is 0.

    Args:
        variables: of a network that differs from `config`'s in that its backbone has fewer
            bottlenecks, modules or blocks.
        config: the deeper network.
        seed: of the further blocks' random numbers.

    Returns:
        NumPy arrays.

    Raises:
        InputError: the networks differ in something else.
    """
    held = dict(_by_path(variables))

    def start(path: Any, new: np.ndarray) -> np.ndarray:
        name = _name(path)
        if name in held:
            return _same_shape(name, held.pop(name), new)
        return np.zeros_like(new) if _scales_a_summand(name) else new

    deeper = jax.tree_util.tree_map_with_path(start, init_variables(config, seed))
    if held:
        raise InputError(f"the deeper network lacks {len(held)} entries, {min(held)} for one")
    return deeper


def _by_path(variables: Variables) -> list[tuple[str, Any]]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    return [(_name(path), leaf) for path, leaf in leaves]


def _name(path: Any) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")


def _same_shape(name: str, held: Any, new: np.ndarray) -> np.ndarray:
    if held.shape != new.shape:
        raise InputError(f"{name} is {held.shape} there and {new.shape} in the deeper network")
    return np.asarray(held)


def _scales_a_summand(name: str) -> bool:
    """Whether a parameter is the scale by which a block, or a resolution, adds to another input."""
    if not name.endswith("/scale"):
        return False
    fusion = _NORM_OF_FUSION.search(name)
    if fusion is None:
        return _END_OF_BLOCK.search(name) is not None
    to, of, step = fusion.groups()
    return step is None or int(step) == int(to) - int(of) - 1  # the last step down


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
