"""Pose refinement, PR (section 3.2 of the paper): a graph network corrects coarse poses.

Legend for shapes: B images, N poses, K keypoints, a map of h x w positions with C channels.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks import graphs
from pinet_jax.networks.initializers import Initializer, fan_in_uniform, xavier_uniform
from pinet_jax.networks.layers import Compute, Layers, at_least_float32, make_layers, relu
from pinet_jax.networks.materialization import materialized
from pinet_jax.networks.sampling import sample_bilinear, take_positions
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Pose refinement (section 3.2 of the paper)."""

    graph: graphs.Graph = graphs.dynamic  # the adjacency: a function of `graphs`, or your own
    blocks: int = 3  # L, residual blocks of two graph convolutions; 2 for COCO
    # The released code normalises coordinates corner-aligned and samples half-pixel; False reads
    # the features at the points themselves.
    released_sampling: bool = True


class PoseRefinement(nn.Module):
    """The graph network.

    Attributes:
        config: its graph and depth.
        skeleton: the keypoints.
        compute: how it computes.
    """

    config: RefinementConfig
    skeleton: Skeleton
    compute: Compute = Compute()

    @nn.compact
    def __call__(
        self,
        features: jax.Array,
        poses: jax.Array,
        centers: jax.Array,
        mask: jax.Array | None,
    ) -> jax.Array:
        """The refinement of coarse poses.

        Args:
            features: [B, h, w, C], the backbone's.
            poses: [B, N, K, 2], x and y in feature-map pixels.
            centers: [B, N, 2], integer y and x of the positions that the poses come from.
            mask: [B, N] booleans, the poses that count in batch statistics; None: all.

        Returns:
            [B, N, K, 2], to be subtracted from the poses.
        """
        layers = make_layers(self.compute)
        if mask is not None:
            mask = mask[:, :, None, None]
        features = features.astype(self.compute.dtype)
        points = self._read_at(poses, features.shape)
        nodes = jax.vmap(sample_bilinear)(features, points)  # [B, N, K, C]
        nodes = self._graph_layers(nodes, mask, layers)
        pooled = [nodes.mean(axis=2), _max_over_keypoints(nodes), take_positions(features, centers)]
        return self._predictor(jnp.concatenate(pooled, axis=-1), mask, layers)

    def _read_at(self, poses: jax.Array, shape: tuple[int, ...]) -> jax.Array:
        if not self.config.released_sampling:
            return poses
        size = np.array([shape[2], shape[1]], poses.dtype)
        return poses * (size / np.maximum(size - 1, 1))[None, None, None] - 0.5

    def _graph_layers(self, nodes: jax.Array, mask: jax.Array | None, layers: Layers) -> jax.Array:
        arrays: dict[str, jax.Array] = {}

        def param(name: str, initial: Initializer, shape: tuple[int, ...]) -> jax.Array:
            if name not in arrays:  # linen lets a name be made only once
                arrays[name] = self.param(name, initial, shape)
            return arrays[name]

        def layer(nodes: jax.Array, index: int, name: str) -> jax.Array:
            adjacency = self.config.graph(param, self.skeleton, nodes, index).astype(
                self.compute.dtype
            )
            return GraphConvolution(name=name)(nodes, adjacency, mask, layers)

        nodes = layer(nodes, 0, "gconv_head")
        for block in range(self.config.blocks):
            inner = layer(nodes, 2 * block + 1, f"gconv_layers.{block}.gconv1")
            outer = layer(inner, 2 * block + 2, f"gconv_layers.{block}.gconv2")
            nodes = materialized(nodes + outer)
        return nodes

    def _predictor(self, pooled: jax.Array, mask: jax.Array | None, layers: Layers) -> jax.Array:
        width = pooled.shape[-1] // 3
        hidden = _dense(width, pooled.shape[-1], self.compute.dtype, "gconv_pred.0")(pooled)
        rows = None if mask is None else mask[..., 0]
        hidden = at_least_float32(relu(layers.norm(name="gconv_pred.1")(hidden, mask=rows)))
        outputs = 2 * self.skeleton.num_keypoints
        delta = _dense(outputs, hidden.shape[-1], hidden.dtype, "gconv_pred.3")(hidden)
        return delta.reshape(*delta.shape[:2], self.skeleton.num_keypoints, 2)


def _dense(features: int, fan_in: int, dtype: Any, name: str) -> nn.Dense:
    """A layer that begins as torch's convolutions do."""
    rule = fan_in_uniform(fan_in)
    return nn.Dense(features, dtype=dtype, kernel_init=rule, bias_init=rule, name=name)


def _max_over_keypoints(nodes: jax.Array) -> jax.Array:
    """[B, N, K, C] -> [B, N, C]; of equal maxima the first alone has a gradient, as in torch."""
    first = jax.nn.one_hot(nodes.argmax(axis=2), nodes.shape[2], axis=2, dtype=nodes.dtype)
    return (nodes * first).sum(axis=2)


class GraphConvolution(nn.Module):
    """`G X W`, a bias, normalisation, ReLU; keeps the width."""

    @nn.compact
    def __call__(
        self, nodes: jax.Array, adjacency: jax.Array, mask: jax.Array | None, layers: Layers
    ) -> jax.Array:
        """[B, N, K, C] -> the same; adjacency is [K, K] or [B, N, K, K]."""
        nodes = GraphMixing(name="conv")(nodes, adjacency)
        return relu(layers.norm(name="bn")(nodes, mask=mask))


class GraphMixing(nn.Module):
    """`G X W` and a bias."""

    def multiply_adds(self, nodes: jax.Array, adjacency: jax.Array) -> int:
        """Of one call, as `complexity.py` counts: X W, then G X W."""
        del adjacency
        return math.prod(nodes.shape) * (nodes.shape[-1] + nodes.shape[-2])

    @nn.compact
    def __call__(self, nodes: jax.Array, adjacency: jax.Array) -> jax.Array:
        """[B, N, K, C] -> the same."""
        width = nodes.shape[-1]
        weight = self.param("weight", xavier_uniform(1.414), (width, width))
        bias = self.param("bias", fan_in_uniform(width), (width,))
        nodes = materialized(nodes @ weight.astype(nodes.dtype))
        # A small product for every pose: a single large one would transpose all nodes, and back.
        adjacency = jnp.broadcast_to(adjacency, (*nodes.shape[:2], *adjacency.shape[-2:]))
        nodes = materialized(adjacency @ nodes)
        return nodes + bias.astype(nodes.dtype)[None, None, None]
