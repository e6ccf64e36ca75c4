"""Pose refinement, PR (section 3.2 of the paper): a graph network corrects coarse poses.

Legend for shapes: B images, N poses, K keypoints, a map of h x w positions with C channels.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig, RefinementConfig
from pinet_jax.models.graphs import Initial
from pinet_jax.models.layers import Layers, at_least_float32, make_layers, materialized, relu
from pinet_jax.skeletons import Skeleton


class PoseRefinement(nn.Module):
    """The graph network.

    Attributes:
        config: its graph and depth.
        skeleton: the keypoints.
        folded: whether the normalisations are folded into the layers before them.
        dtype: of the computation.
        batch_norm: how statistics are taken in training.
    """

    config: RefinementConfig
    skeleton: Skeleton
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()

    @nn.compact
    def __call__(
        self,
        features: jax.Array,
        poses: jax.Array,
        centers: jax.Array,
        mask: jax.Array | None,
        train: bool,
    ) -> jax.Array:
        """The refinement of coarse poses.

        Args:
            features: [B, h, w, C], the backbone's.
            poses: [B, N, K, 2], x and y in feature-map pixels.
            centers: [B, N, 2], integer y and x of the positions that the poses come from.
            mask: [B, N] booleans, the poses that count in batch statistics; None: all.
            train: whether batch statistics are used and updated.

        Returns:
            [B, N, K, 2], to be subtracted from the poses.
        """
        layers = make_layers(
            train=train, folded=self.folded, dtype=self.dtype, batch_norm=self.batch_norm
        )
        if mask is not None:
            mask = mask[:, :, None, None]
        features = features.astype(self.dtype)
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

        def param(name: str, initial: Initial) -> jax.Array:
            if name not in arrays:  # linen lets a name be made only once
                arrays[name] = self.param(
                    name, lambda _: jnp.asarray(initial(np.random.default_rng(0)))
                )
            return arrays[name]

        def layer(nodes: jax.Array, index: int, name: str) -> jax.Array:
            adjacency = self.config.graph(param, self.skeleton, nodes, index).astype(self.dtype)
            return GraphConvolution(name=name)(nodes, adjacency, mask, layers)

        nodes = layer(nodes, 0, "gconv_head")
        for block in range(self.config.blocks):
            inner = layer(nodes, 2 * block + 1, f"gconv_layers.{block}.gconv1")
            outer = layer(inner, 2 * block + 2, f"gconv_layers.{block}.gconv2")
            nodes = materialized(nodes + outer)
        return nodes

    def _predictor(self, pooled: jax.Array, mask: jax.Array | None, layers: Layers) -> jax.Array:
        width = pooled.shape[-1] // 3
        hidden = nn.Dense(width, dtype=self.dtype, name="gconv_pred.0")(pooled)
        rows = None if mask is None else mask[..., 0]
        hidden = at_least_float32(relu(layers.norm(name="gconv_pred.1")(hidden, mask=rows)))
        last = nn.Dense(2 * self.skeleton.num_keypoints, dtype=hidden.dtype, name="gconv_pred.3")
        delta = last(hidden)
        return delta.reshape(*delta.shape[:2], self.skeleton.num_keypoints, 2)


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

    @nn.compact
    def __call__(self, nodes: jax.Array, adjacency: jax.Array) -> jax.Array:
        """[B, N, K, C] -> the same."""
        width = nodes.shape[-1]
        weight = self.param("weight", nn.initializers.zeros_init(), (width, width), jnp.float32)
        bias = self.param("bias", nn.initializers.zeros_init(), (width,), jnp.float32)
        nodes = materialized(nodes @ weight.astype(nodes.dtype))
        # A small product for every pose: a single large one would transpose all nodes, and back.
        adjacency = jnp.broadcast_to(adjacency, (*nodes.shape[:2], *adjacency.shape[-2:]))
        nodes = materialized(adjacency @ nodes)
        return nodes + bias.astype(nodes.dtype)[None, None, None]


def sample_bilinear(image: jax.Array, points: jax.Array) -> jax.Array:
    """Reads a map between its positions; zero outside of it.

    Args:
        image: [h, w, C].
        points: [..., 2], x and y; (0, 0) is the centre of the first position.

    Returns:
        [..., C], in the image's dtype.
    """
    corner = jnp.floor(points)
    fx, fy = points[..., 0] - corner[..., 0], points[..., 1] - corner[..., 1]
    x, y = corner[..., 0].astype(jnp.int32), corner[..., 1].astype(jnp.int32)
    h, w, _ = image.shape

    def read(dy: int, dx: int, weight: jax.Array) -> jax.Array:
        inside = (x + dx >= 0) & (x + dx < w) & (y + dy >= 0) & (y + dy < h)
        values = image[jnp.clip(y + dy, 0, h - 1), jnp.clip(x + dx, 0, w - 1)]
        return values * jnp.where(inside, weight, 0).astype(image.dtype)[..., None]

    top = read(0, 0, (1 - fy) * (1 - fx)) + read(0, 1, (1 - fy) * fx)
    return top + read(1, 0, fy * (1 - fx)) + read(1, 1, fy * fx)


def take_positions(maps: jax.Array, yx: jax.Array) -> jax.Array:
    """The values of [B, h, w, C] at integer positions [B, M, 2]: [B, M, C]."""
    # Mapped, so that a batch on several devices is read where it lies.
    return jax.vmap(lambda image, at: image[at[:, 0], at[:, 1]])(maps, yx)
