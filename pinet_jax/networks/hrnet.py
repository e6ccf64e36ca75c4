"""HRNet, the backbone (Sun et al., Deep High-Resolution Representation Learning, CVPR 2019).

Legend for shapes: B images of H x W pixels, h = H / 4, w = W / 4. With `Compute.tpus`, maps
between layers have these shapes and lie in `Blocks`.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.networks.blocks import Blocks, from_blocks, to_blocks
from pinet_jax.networks.imagenet import PublishedAsIs
from pinet_jax.networks.layers import (
    Compute,
    Layers,
    make_block_layers,
    relu,
    upsample_bilinear,
    upsample_nearest,
)

_IMAGE_BLOCK = (4, 4)  # 48 channels in place of 3


@dataclasses.dataclass(frozen=True)
class HRNetConfig(PublishedAsIs):
    """Widths and depths of the backbone; by default HRNet-W32."""

    stem_width: int = 64  # channels of the two convolutions at 1/2 and 1/4
    bottleneck_width: int = 64  # layer1 puts out four times as many channels
    bottlenecks: int = 4  # blocks of layer1
    width: int = 32  # channels of the branch at 1/4; every lower branch has twice as many
    modules: tuple[int, ...] = (1, 4, 3)  # of stage 2, 3, ...; each stage adds a branch
    blocks: int = 4  # basic blocks of every branch of a module
    # All branches side by side; otherwise the highest resolution's alone, and the last module
    # makes no other.
    concatenated: bool = True

    @property
    def branch_widths(self) -> tuple[int, ...]:
        """Channels of the last stage's branches."""
        return tuple(self.width * 2**i for i in range(len(self.modules) + 1))

    @property
    def features(self) -> int:
        """Channels of the output (480 for W32 with all branches, else 32)."""
        return sum(self.branch_widths) if self.concatenated else self.width

    @property
    def imagenet_extras(self) -> tuple[str, ...]:
        """What published ImageNet networks have beside the backbone: beginnings of names."""
        extras = ("incre_modules.", "downsamp_modules.", "final_layer.", "classifier.")
        if self.concatenated:
            return extras
        last = f"stage{len(self.modules) + 1}.{self.modules[-1] - 1}"
        rows = range(1, len(self.branch_widths))
        return (*extras, *(f"{last}.fuse_layers.{i}." for i in rows))

    def module(self, compute: Compute) -> nn.Module:
        """The network."""
        return HRNet(self, compute)


W32 = HRNetConfig()
W48 = HRNetConfig(width=48)


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
    """Branches of several resolutions side by side; then each receives the sum of all.

    Attributes:
        blocks: of every branch.
        outputs: how many branches receive it, the highest resolutions; None: all.
    """

    blocks: int
    outputs: int | None = None

    @nn.compact
    def __call__(self, branches: Sequence[jax.Array], layers: Layers) -> list[jax.Array]:
        """Branch i is [B, h / 2^i, w / 2^i, C_i], and keeps its shape."""
        branches = list(branches)
        for i in range(len(branches)):
            for block in range(self.blocks):
                branches[i] = BasicBlock(name=f"branches.{i}.{block}")(branches[i], layers)
        outputs = self.outputs or len(branches)
        return [self._fuse(branches, i, layers) for i in range(outputs)]

    def _fuse(self, branches: Sequence[jax.Array], i: int, layers: Layers) -> jax.Array:
        """The sum of all branches at the resolution and width of branch i."""
        width = branches[i].shape[-1]
        inputs = [
            x
            if j == i
            else self._raise(x, i, j, width, layers)
            if j > i
            else self._lower(x, i, j, width, layers)
            for j, x in enumerate(branches)
        ]
        return relu(functools.reduce(operator.add, inputs))

    def _raise(self, x: jax.Array, i: int, j: int, width: int, layers: Layers) -> jax.Array:
        conv, norm = layers
        x = norm(name=f"fuse_layers.{i}.{j}.1")(conv(width, 1, name=f"fuse_layers.{i}.{j}.0")(x))
        return upsample_nearest(x, 2 ** (j - i))

    def _lower(self, x: jax.Array, i: int, j: int, width: int, layers: Layers) -> jax.Array:
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
        compute: with `remat`, only what goes in and out of modules is kept for the gradient.
    """

    config: HRNetConfig
    compute: Compute = Compute()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of the lowest branch's stride (32).

        Returns:
            [B, h, w, config.features]: all branches at a quarter of the resolution.
        """
        layers = make_block_layers(self.compute)
        # Layers are functions, no arrays: static to the transformation (self is argument 0).
        fuse = (
            nn.remat(HighResolutionModule, static_argnums=(2,))
            if self.compute.remat
            else HighResolutionModule
        )
        x: Any = images.astype(self.compute.dtype)
        if self.compute.tpus is not None:
            x = to_blocks(x, _IMAGE_BLOCK)
        branches = [self._stem(x, layers)]
        last = len(self.config.modules) + 1, self.config.modules[-1] - 1
        for stage, modules in enumerate(self.config.modules, start=2):
            branches = self._transition(branches, stage, layers)
            for module in range(modules):
                name = f"stage{stage}.{module}"
                single = (stage, module) == last and not self.config.concatenated
                outputs = 1 if single else None
                branches = fuse(self.config.blocks, outputs, name=name)(branches, layers)
        branches = [from_blocks(x) if isinstance(x, Blocks) else x for x in branches]
        enlarged = [upsample_bilinear(x, 2**i) for i, x in enumerate(branches) if i > 0]
        return jnp.concatenate([branches[0], *enlarged], axis=-1)

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
