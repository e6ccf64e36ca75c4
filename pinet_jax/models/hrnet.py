"""HRNet, the backbone (Sun et al., Deep High-Resolution Representation Learning, CVPR 2019).

Legend for shapes: B images of H x W pixels, h = H / 4, w = W / 4.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig, HRNetConfig
from pinet_jax.models.layers import (
    Layers,
    make_layers,
    relu,
    upsample_bilinear,
    upsample_nearest,
)


class Bottleneck(nn.Module):
    """Three convolutions around a narrow waist, and a shortcut."""

    width: int

    @nn.compact
    def __call__(self, x: jax.Array, layers: Layers) -> jax.Array:
        """[B, h, w, C] -> [B, h, w, 4 * width]."""
        conv, norm = layers
        y = relu(norm(name="bn1")(conv(self.width, 1, name="conv1")(x)))
        y = relu(norm(name="bn2")(conv(self.width, 3, name="conv2")(y)))
        y = norm(name="bn3")(conv(4 * self.width, 1, name="conv3")(y))
        if x.shape[-1] != y.shape[-1]:
            x = norm(name="downsample.1")(conv(4 * self.width, 1, name="downsample.0")(x))
        return relu(x + y)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions and a shortcut; keeps the shape."""

    @nn.compact
    def __call__(self, x: jax.Array, layers: Layers) -> jax.Array:
        """[B, h, w, C] -> the same."""
        conv, norm = layers
        width = x.shape[-1]
        y = relu(norm(name="bn1")(conv(width, 3, name="conv1")(x)))
        y = norm(name="bn2")(conv(width, 3, name="conv2")(y))
        return relu(x + y)


class HighResolutionModule(nn.Module):
    """Branches of several resolutions side by side, then every one hears all others.

    Attributes:
        blocks: of every branch.
        finest_only: whether the finest branch alone hears the others and is put out.
    """

    blocks: int
    finest_only: bool = False

    @nn.compact
    def __call__(self, branches: Sequence[jax.Array], layers: Layers) -> list[jax.Array]:
        """Branch i is [B, h / 2^i, w / 2^i, C_i], and stays so."""
        branches = list(branches)
        for i in range(len(branches)):
            for block in range(self.blocks):
                branches[i] = BasicBlock(name=f"branches.{i}.{block}")(branches[i], layers)
        outputs = 1 if self.finest_only else len(branches)
        return [self._fused(branches, i, layers) for i in range(outputs)]

    def _fused(self, branches: Sequence[jax.Array], i: int, layers: Layers) -> jax.Array:
        """The sum of all branches at the resolution and width of branch i."""
        width = branches[i].shape[-1]
        heard = [
            x
            if j == i
            else self._raised(x, i, j, width, layers)
            if j > i
            else self._lowered(x, i, j, width, layers)
            for j, x in enumerate(branches)
        ]
        return relu(functools.reduce(jnp.add, heard))

    def _raised(self, x: jax.Array, i: int, j: int, width: int, layers: Layers) -> jax.Array:
        conv, norm = layers
        x = norm(name=f"fuse_layers.{i}.{j}.1")(conv(width, 1, name=f"fuse_layers.{i}.{j}.0")(x))
        return upsample_nearest(x, 2 ** (j - i))

    def _lowered(self, x: jax.Array, i: int, j: int, width: int, layers: Layers) -> jax.Array:
        conv, norm = layers
        for step in range(i - j):
            last = step == i - j - 1
            name = f"fuse_layers.{i}.{j}.{step}"
            x = conv(width if last else x.shape[-1], 3, stride=2, name=f"{name}.0")(x)
            x = norm(name=f"{name}.1")(x)
            x = x if last else relu(x)
        return x


class HRNet(nn.Module):
    """The backbone.

    Attributes:
        config: widths and depths.
        folded: whether the normalisations are folded into the convolutions.
        dtype: of the computation.
        batch_norm: how statistics are taken in training.
        remat: keep only what goes in and out of modules for the gradient, and compute the rest
            again: less memory, more time.
        finest_only: whether the finest branch is the output, and not all of them.
    """

    config: HRNetConfig
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False
    finest_only: bool = False

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of the lowest branch's stride (32).
            train: whether batch statistics are used and updated.

        Returns:
            [B, h, w, config.features]: all branches at a quarter of the resolution;
            [B, h, w, config.width] of the finest one alone.
        """
        layers = make_layers(
            train=train, folded=self.folded, dtype=self.dtype, batch_norm=self.batch_norm
        )
        # Layers are functions, no arrays: static to the transformation (self is argument 0).
        fuse = (
            nn.remat(HighResolutionModule, static_argnums=(2,))
            if self.remat
            else HighResolutionModule
        )
        branches = [self._stem(images.astype(self.dtype), layers)]
        for stage, modules in enumerate(self.config.modules, start=2):
            branches = self._transition(branches, stage, layers)
            for module in range(modules):
                is_last = stage == len(self.config.modules) + 1 and module == modules - 1
                finest_only = self.finest_only and is_last
                name = f"stage{stage}.{module}"
                branches = fuse(self.config.blocks, finest_only, name=name)(branches, layers)
        raised = [upsample_bilinear(x, 2**i) for i, x in enumerate(branches) if i > 0]
        return jnp.concatenate([branches[0], *raised], axis=-1)

    def _stem(self, x: jax.Array, layers: Layers) -> jax.Array:
        """[B, H, W, 3] -> [B, h, w, 4 * bottleneck_width]."""
        conv, norm = layers
        for i in (1, 2):
            x = conv(self.config.stem_width, 3, stride=2, name=f"conv{i}")(x)
            x = relu(norm(name=f"bn{i}")(x))
        for i in range(self.config.bottlenecks):
            x = Bottleneck(self.config.bottleneck_width, name=f"layer1.{i}")(x, layers)
        return x

    def _transition(
        self, branches: Sequence[jax.Array], stage: int, layers: Layers
    ) -> list[jax.Array]:
        """Gives the branches the stage's widths, and adds one below from the lowest."""
        conv, norm = layers
        widths = self.config.branch_widths[:stage]
        name = f"transition{stage - 1}"
        out = []
        for i, x in enumerate(branches):
            if x.shape[-1] != widths[i]:
                y = conv(widths[i], 3, name=f"{name}.{i}.0")(x)
                x = relu(norm(name=f"{name}.{i}.1")(y))
            out.append(x)
        i = len(branches)
        y = conv(widths[i], 3, stride=2, name=f"{name}.{i}.0.0")(branches[-1])
        return [*out, relu(norm(name=f"{name}.{i}.0.1")(y))]
