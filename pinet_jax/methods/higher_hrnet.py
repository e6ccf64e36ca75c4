"""HigherHRNet: keypoints of everybody, on two resolutions, and tags that say whose they are.

AE (associative embedding with an HRNet, "bottom-up HRNet") is the value without doublings.

Legend for shapes: B frames of H x W pixels, maps of h x w positions, N poses, K keypoints, T tags
of a position: with the flip test two.

References:
    Cheng et al., HigherHRNet: scale-aware representation learning for bottom-up human pose
    estimation, CVPR 2020, and its released code.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax import tagging
from pinet_jax.frames import STRIDE, FrameBatch
from pinet_jax.grouping import GroupingConfig
from pinet_jax.interop.layouts import Entry, torch_entry
from pinet_jax.methods.base import (
    Batch,
    BottomUp,
    BottomUpInference,
    CountedModule,
    InferenceConfig,
    Stages,
)
from pinet_jax.networks.backbones import AnyBackbone
from pinet_jax.networks.higher_hrnet import HigherHRNetNetwork, TaggedHeatmaps
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute, upsample_bilinear
from pinet_jax.resizing import resized_shape
from pinet_jax.skeletons import COCO_17, Skeleton
from pinet_jax.tag_decoding import find_people
from pinet_jax.targets import on_map

# COCO's keypoints in the order in which they are grouped: head, trunk, arms, legs. The released
# code goes through CrowdPose's by the same list.
_GROUPED = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
_W32 = HRNetConfig(concatenated=False)


@dataclasses.dataclass(frozen=True)
class HigherHRNetInference(BottomUpInference):
    """The test procedure; by default the released one at one scale, 0.5 1 2 for several."""

    grouping: GroupingConfig = GroupingConfig()
    poses: int = 60  # the most of an image; metrics look at 20


@dataclasses.dataclass(frozen=True)
class HigherHRNet(BottomUp):
    """The method; by default the paper's for COCO."""

    inference_type: ClassVar[type[InferenceConfig]] = HigherHRNetInference
    batch_arrays: ClassVar[tuple[str, ...]] = ("image", "keypoints", "valid_mask")
    output_layers: ClassVar[tuple[str, ...]] = ("final_layers.0", "final_layers.1")

    skeleton: Skeleton = COCO_17
    backbone: AnyBackbone = _W32
    doublings: int = 1  # of the backbone's resolution, for a further heatmap each; 0 is AE
    blocks: int = 4  # basic blocks after each doubling
    heatmap_factor: float = 1.0  # of each resolution
    push_factor: float = 1e-3  # of the tags of two people, apart
    pull_factor: float = 1e-3  # of the tags of one person, together

    @property
    def order(self) -> tuple[int, ...]:
        """In which the keypoints are grouped."""
        count = self.skeleton.num_keypoints
        return (*(k for k in _GROUPED if k < count), *range(len(_GROUPED), count))

    def network(self, compute: Compute = Compute()) -> HigherHRNetNetwork:
        """Backbone and heads."""
        return HigherHRNetNetwork(
            self.skeleton.num_keypoints, self.backbone, self.doublings, self.blocks, compute
        )

    # Training.

    def losses(self, net: Any, batch: Batch) -> dict[str, jax.Array]:
        """Squared error of every heatmap, by its stride, and the tags' push and pull.

        Args:
            net: bound.
            batch: as in `Method.losses`, and, where labels do not count everywhere,
                fine_valid_mask, uint8 [B, S / 2, S / 2]; without it `valid_mask` is enlarged.
        """
        maps: TaggedHeatmaps = net(normalize(batch["image"]))
        found = {}
        for i, heatmap in enumerate(maps.heatmaps):
            stride, size = STRIDE >> i, heatmap.shape[1]
            render = functools.partial(tagging.render_heatmaps, size=size)
            target = jax.vmap(render)(on_map(batch, stride))
            loss = tagging.heatmap_loss(heatmap, target, _valid_mask(batch, size))
            found[f"heatmap_{stride}"] = self.heatmap_factor * loss
        push, pull = jax.vmap(tagging.tag_losses)(maps.tags, on_map(batch, STRIDE))
        return found | {
            "push": self.push_factor * push.mean(),
            "pull": self.pull_factor * pull.mean(),
        }

    # Testing.

    def frame_shapes(
        self, image_shape: tuple[int, int], inference: Any
    ) -> tuple[tuple[int, int], ...]:
        """The image at every scale; at the smallest the sides are multiples of 64."""
        least = min(inference.scales)
        height, width = resized_shape(*image_shape, int(least * inference.input_size))
        return tuple(
            (int(height * scale / least), int(width * scale / least)) for scale in inference.scales
        )

    def poses(self, net: Any, frames: FrameBatch, inference: HigherHRNetInference) -> Stages:
        """People by their tags, which are those of scale 1; heatmaps are the mean of all scales."""
        heatmap, tags = self.maps(net, frames, inference)
        people = functools.partial(
            find_people, order=self.order, config=inference.grouping, limit=inference.poses
        )
        return {"final": jax.vmap(people)(heatmap, tags)}

    def maps(
        self, net: Any, frames: FrameBatch, inference: HigherHRNetInference
    ) -> tuple[jax.Array, jax.Array]:
        """Heatmap [B, K, H, W] and tags [B, K, T, H, W] of scale 1's size."""
        first = inference.scales.index(1.0)
        shape = frames.pixels[first].shape[1:3]
        heatmaps = []
        for scale, pixels in zip(inference.scales, frames.pixels, strict=True):
            heatmap, found = self._maps_at_scale(net, pixels, inference.flip)
            heatmaps.append(_resize(heatmap, shape))
            if scale == 1.0:
                tags = jnp.stack([_resize(x, shape) for x in found], axis=-1)  # [B, H, W, K, T]
        heatmap = sum(heatmaps[1:], start=heatmaps[0]) / len(heatmaps)
        return jnp.moveaxis(heatmap, 3, 1), jnp.moveaxis(tags, (3, 4), (1, 2))

    def _maps_at_scale(
        self, net: Any, pixels: jax.Array, flip: bool
    ) -> tuple[jax.Array, list[jax.Array]]:
        """The mean heatmap of the finest size, and the tags of the frame and its mirror image."""
        images = normalize(pixels)
        if not flip:
            heatmap, tags = _on_finest(net(images))
            return heatmap, [tags]
        both = net(jnp.concatenate([images, images[:, :, ::-1]]))
        direct, mirrored = (
            jax.tree.map(lambda x: x[: images.shape[0]], both),
            jax.tree.map(
                lambda x: x[images.shape[0] :, :, ::-1][
                    ..., np.asarray(self.skeleton.mirror_permutation)
                ],
                both,
            ),
        )
        (heatmap, tags), (other, other_tags) = _on_finest(direct), _on_finest(mirrored)
        return (heatmap + other) / 2, [tags, other_tags]

    # Weights and size.

    def state_dict_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """The released names have no "backbone" before them."""
        collection, *layers = path
        return torch_entry((collection, *(name for name in layers if name != "backbone")), shape)

    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """Backbone and heads."""
        features = (1, shape[0] // STRIDE, shape[1] // STRIDE, self.backbone.features)
        names = [f"final_layers.{i}" for i in range(self.doublings + 1)]
        for i in range(self.doublings):
            names += [f"deconv_layers.{i}.0.0", f"deconv_layers.{i}.0.1"]
            names += [f"deconv_layers.{i}.{block}.0" for block in range(1, self.blocks + 1)]
        return {
            "backbone": CountedModule(
                ("backbone",),
                lambda net, images: net.backbone(images),
                (jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32),),
            ),
            "heads": CountedModule(
                tuple(names),
                lambda net, x: net.heads(x),
                (jax.ShapeDtypeStruct(features, jnp.float32),),
            ),
        }


def _valid_mask(batch: Batch, size: int) -> jax.Array:
    """[B, size, size]."""
    mask = batch["valid_mask"]
    if size > mask.shape[1]:
        mask = batch.get("fine_valid_mask", mask)
    factor = size // mask.shape[1]
    return jnp.repeat(jnp.repeat(mask, factor, axis=1), factor, axis=2)


def _on_finest(maps: TaggedHeatmaps) -> tuple[jax.Array, jax.Array]:
    """The mean of all heatmaps, and the tags, of the last heatmap's size."""
    shape = maps.heatmaps[-1].shape[1:3]
    heatmaps = [_resize(heatmap, shape) for heatmap in maps.heatmaps]
    return sum(heatmaps[1:], start=heatmaps[0]) / len(heatmaps), _resize(maps.tags, shape)


def _resize(maps: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Bilinear, with half-pixel centres: [B, h, w, K] -> [B, *shape, K]."""
    b, h, w, k = maps.shape
    factor = shape[0] // h
    if (h, w) == shape:
        return maps
    if factor % 2 == 0 and (h * factor, w * factor) == shape:
        return upsample_bilinear(maps, factor)
    return jax.image.resize(maps, (b, *shape, k), "linear", antialias=False)
