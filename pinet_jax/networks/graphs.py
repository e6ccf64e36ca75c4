"""Graphs over the keypoints of a pose, for the refinement of section 3.2 of the paper.

A graph is a pure function that gives the adjacency of one layer:

    graph(param, skeleton, nodes, layer) -> adjacency

`param(name, initial, shape)` returns the trainable array of this name (the same one wherever the
name is asked for again), which begins as the rule of `initializers` says. `nodes` are the layer's
features, [B, N, K, C]; the adjacency is [K, K], or [B, N, K, K] where it depends on
them. A new variant is one more such function, named in `RefinementConfig.graph`.

Legend for shapes: B images, N poses, K keypoints, C channels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import jax
import jax.numpy as jnp

from pinet_jax.networks.initializers import Initializer, constant, fixed, normal
from pinet_jax.skeletons import Skeleton

Param = Callable[[str, Initializer, tuple[int, ...]], jax.Array]


class Graph(Protocol):
    """What the functions of this module are."""

    def __call__(self, param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
        """The adjacency of a layer."""
        ...


def dynamic(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """The paper's: one trained matrix for all layers, which starts as the skeleton."""
    del nodes, layer
    start = skeleton.normalized_adjacency()
    return param("adj", fixed(start), start.shape)


def dynamic_per_layer(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """As `dynamic`, with a matrix of its own in every layer."""
    del nodes
    start = skeleton.normalized_adjacency()
    return param(f"adj_layer{layer}", fixed(start), start.shape)


def fully_connected(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """As `dynamic`, but it starts with every keypoint joined to every other one alike."""
    del nodes, layer
    count = skeleton.num_keypoints
    return param("adj", constant(1 / count), (count, count))


def static(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """The skeleton's own graph, not trained (table 1c of the paper)."""
    del param, layer
    return jnp.asarray(skeleton.normalized_adjacency(), nodes.dtype)


def none(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """No edges: every keypoint is refined on its own features (table 1c of the paper)."""
    del param, layer
    return jnp.eye(skeleton.num_keypoints, dtype=nodes.dtype)


def nearest_neighbours(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """Each keypoint and its four nearest in feature space, averaged.

    References:
        Wang et al., Dynamic Graph CNN for Learning on Point Clouds, TOG 2019 (its dynamic graph).
    """
    del param, layer
    neighbours = min(5, skeleton.num_keypoints)  # the keypoint itself is the nearest
    features = jax.lax.stop_gradient(nodes)
    products = jnp.einsum("bnkc,bnlc->bnkl", features, features)
    norms = jnp.einsum("bnkc,bnkc->bnk", features, features)
    distances = norms[..., :, None] + norms[..., None, :] - 2 * products  # [B, N, K, K]
    _, nearest = jax.lax.top_k(-distances, neighbours)  # [B, N, K, neighbours]
    chosen = jax.nn.one_hot(nearest, skeleton.num_keypoints, dtype=nodes.dtype).sum(axis=-2)
    return chosen / neighbours  # [B, N, K, K]


def attention(param: Param, skeleton: Skeleton, nodes: jax.Array, layer: int) -> jax.Array:
    """The skeleton's graph plus scaled dot-product attention between the keypoints.

    References:
        Vaswani et al., Attention Is All You Need, NeurIPS 2017, section 3.2.1.
    """
    channels = nodes.shape[-1]
    width = max(channels // 8, 1)

    def projected(name: str) -> jax.Array:
        weight = param(f"{name}_layer{layer}", normal(1 / math.sqrt(channels)), (channels, width))
        return nodes @ weight.astype(nodes.dtype)

    queries, keys = projected("query"), projected("key")  # [B, N, K, width]
    logits = jnp.einsum("bnkc,bnlc->bnkl", queries, keys) / math.sqrt(width)
    skeleton_graph = dynamic(param, skeleton, nodes, layer).astype(nodes.dtype)
    return skeleton_graph[None, None] + jax.nn.softmax(logits)  # [B, N, K, K]
