"""EfficientNet-Lite with a feature pyramid: a small backbone whose ImageNet weights are published.

The encoder's layers carry the names of the published PyTorch weights (`_conv_stem`,
`_blocks.0._depthwise_conv`, ...).

Legend for shapes: B images of H x W pixels, h = H / 4, w = W / 4.

References:
    Tan and Le, EfficientNet, ICML 2019. Lite: without squeeze-and-excitation, with ReLU6, stem and
    last stage of fixed width. Lin et al., Feature Pyramid Networks, CVPR 2017.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.networks.depthwise import DepthwiseConv
from pinet_jax.networks.hrnet import BasicBlock
from pinet_jax.networks.inputs import IMAGENET_MEAN, IMAGENET_STD
from pinet_jax.networks.layers import (
    BATCH_NORM_EPSILON,
    Compute,
    Layers,
    make_layers,
    relu,
    upsample_bilinear,
    upsample_nearest,
)
from pinet_jax.networks.materialization import materialized

_STEM_WIDTH = 32
_STEM, _STEM_MEAN = "_conv_stem.weight", "_bn0.running_mean"  # in published state dicts
_PUBLISHED_EPSILON = 1e-3


class _Stage(NamedTuple):
    repeats: int
    kernel: int
    stride: int  # of its first block
    expansion: int
    width: int


_STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
_LEVELS = (1, 2, 4, 6)  # the last stages at strides 4, 8, 16 and 32


@dataclasses.dataclass(frozen=True)
class EfficientNetLiteConfig:
    """Width and depth of the encoder, and the pyramid's channels; by default Lite0."""

    width_factor: float = 1.0  # of every stage's channels; 1.1 in Lite2
    depth_factor: float = 1.0  # of the repeats of all stages but the first and last; 1.2 in Lite2
    pyramid_width: int = 96  # channels of each of the pyramid's four levels

    @property
    def features(self) -> int:
        """Channels of the output: all levels side by side."""
        return self.pyramid_width * len(_LEVELS)

    @property
    def imagenet_extras(self) -> tuple[str, ...]:
        """What published ImageNet networks have beside the encoder: beginnings of names."""
        return ("_conv_head.", "_bn1.", "_fc.")

    @property
    def imagenet_lacks(self) -> tuple[str, ...]:
        """The pyramid's layers."""
        return ("lateral.", "merge.", "refine.")

    def adapt_imagenet(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Published arrays for our pixels and our batch normalisation.

        The published network sees (x - 127) / 128, ours ImageNet's mean 0 and deviation 1: the
        difference goes into the stem (exactly, but for the image's lower and right border). Its
        batch normalisation adds 1e-3 to variances: what ours adds less goes into the variances.
        """
        scale = 255 * np.array(IMAGENET_STD, np.float32) / 128  # [3]
        shift = (255 * np.array(IMAGENET_MEAN, np.float32) - 127) / 128
        stem = np.asarray(state[_STEM], np.float32)  # [out, in, h, w]
        rest = np.float32(_PUBLISHED_EPSILON - BATCH_NORM_EPSILON)
        adapted = {
            name: array + rest if name.endswith("running_var") else array
            for name, array in state.items()
        }
        adapted[_STEM] = stem * scale[None, :, None, None]
        adapted[_STEM_MEAN] = state[_STEM_MEAN] - np.einsum("oiyx,i->o", stem, shift)
        return adapted

    def stages(self) -> list[_Stage]:
        """The stages at this width and depth; the first and last keep their depth."""
        last = len(_STAGES) - 1
        return [
            stage._replace(
                width=_round_width(stage.width * self.width_factor),
                repeats=stage.repeats
                if i in (0, last)
                else math.ceil(stage.repeats * self.depth_factor),
            )
            for i, stage in enumerate(_STAGES)
        ]

    def module(self, compute: Compute) -> nn.Module:
        """The network."""
        return EfficientNetLite(self, compute)


LITE0 = EfficientNetLiteConfig()
LITE2 = EfficientNetLiteConfig(width_factor=1.1, depth_factor=1.2)


def _round_width(width: float) -> int:
    """The nearest multiple of 8 that is not below nine tenths of the width."""
    rounded = max(8, int(width + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * width else rounded + 8


class InvertedResidual(nn.Module):
    """Expansion, depthwise convolution, projection; a shortcut where the shape stays.

    Attributes:
        stage: kernel, expansion and width.
        stride: of the depthwise convolution.
        compute: how it computes.
    """

    stage: _Stage
    stride: int
    compute: Compute

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[B, h, w, C] -> [B, h / stride, w / stride, stage.width]."""
        conv, norm = make_layers(self.compute)
        y = x
        if self.stage.expansion > 1:
            y = conv(x.shape[-1] * self.stage.expansion, 1, name="_expand_conv")(x)
            y = _relu6(norm(name="_bn0")(y))
        depthwise = DepthwiseConv(
            self.stage.kernel, self.stride, self.compute.folded, name="_depthwise_conv"
        )
        y = materialized(_relu6(norm(name="_bn1")(depthwise(y))))
        y = norm(name="_bn2")(conv(self.stage.width, 1, name="_project_conv")(y))
        return materialized(x + y) if x.shape == y.shape else y


def _relu6(x: jax.Array) -> jax.Array:
    return jnp.minimum(nn.relu(x), jnp.asarray(6, x.dtype))


class EfficientNetLite(nn.Module):
    """The backbone: encoder and pyramid.

    Attributes:
        config: widths and depths.
        compute: with `remat`, only what goes in and out of blocks is kept for the gradient.
    """

    config: EfficientNetLiteConfig
    compute: Compute = Compute()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Features of normalised images.

        Args:
            images: [B, H, W, 3]; H and W are multiples of 32.

        Returns:
            [B, h, w, config.features]: all levels at a quarter of the resolution.
        """
        layers = make_layers(self.compute)
        levels = self._pyramid(self._encoder(images.astype(self.compute.dtype), layers), layers)
        enlarged = [upsample_bilinear(x, 2**i) for i, x in enumerate(levels) if i > 0]
        return jnp.concatenate([levels[0], *enlarged], axis=-1)

    def _encoder(self, x: jax.Array, layers: Layers) -> list[jax.Array]:
        """[B, H, W, 3] -> maps at strides 4, 8, 16 and 32."""
        conv, norm = layers
        x = conv(_STEM_WIDTH, 3, stride=2, padding=((0, 1), (0, 1)), name="_conv_stem")(x)
        x = _relu6(norm(name="_bn0")(x))
        residual = nn.remat(InvertedResidual) if self.compute.remat else InvertedResidual
        levels, block = [], 0
        for i, stage in enumerate(self.config.stages()):
            for repeat in range(stage.repeats):
                stride = 1 if repeat else stage.stride
                x = residual(stage, stride, self.compute, name=f"_blocks.{block}")(x)
                block += 1
            if i in _LEVELS:
                levels.append(x)
        return levels

    def _pyramid(self, levels: Sequence[jax.Array], layers: Layers) -> list[jax.Array]:
        """From the coarsest level down, each adds the one above it; all get one width."""
        conv, norm = layers
        width = self.config.pyramid_width
        out: list[jax.Array] = []
        for i in reversed(range(len(levels))):
            x = norm(name=f"lateral.{i}.1")(conv(width, 1, name=f"lateral.{i}.0")(levels[i]))
            if out:
                x = x + upsample_nearest(out[-1], 2)
            x = relu(norm(name=f"merge.{i}.1")(conv(width, 3, name=f"merge.{i}.0")(relu(x))))
            out.append(BasicBlock(name=f"refine.{i}")(x, layers))
        return out[::-1]
