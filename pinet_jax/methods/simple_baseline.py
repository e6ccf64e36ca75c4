"""Top-down methods: SimpleBaseline, and HRNet in its place.

A frame is a person's crop; the network answers with a heatmap for every keypoint. Both share all
but their network and their channels' order.

Legend for shapes: B crops of H x W pixels, K keypoints, N crops of one image (padded).
"""

from __future__ import annotations

import abc
import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax import person_heatmaps, suppression
from pinet_jax.fusion import PoseSet
from pinet_jax.models.config import W32, HRNetConfig
from pinet_jax.models.pinet import normalize
from pinet_jax.networks import simple_baseline as networks
from pinet_jax.networks.resnet import RESNET_50, ResNetConfig
from pinet_jax.skeletons import COCO_17, Skeleton


@dataclasses.dataclass(frozen=True)
class TopDown(abc.ABC):
    """What both methods share.

    Class attributes, by which they differ:
        reads_bgr: whether the network sees blue first, normalised as if it were red.
    """

    reads_bgr: ClassVar[bool]

    skeleton: Skeleton = COCO_17
    crop_shape: tuple[int, int] = (256, 192)  # height and width, pixels; multiples of 32
    sigma: float = 2.0  # of the targets' Gaussians, map pixels; 3 for crops of 384 x 288

    @abc.abstractmethod
    def network(self, **compute: Any) -> nn.Module:
        """The linen module; `compute` are its attributes of the same names."""

    def normalized(self, pixels: jax.Array) -> jax.Array:
        """What the network sees of RGB pixels, uint8 [B, H, W, 3]."""
        return normalize(pixels[..., ::-1] if self.reads_bgr else pixels)

    def losses(self, net: Any, batch: dict[str, jax.Array]) -> dict[str, jax.Array]:
        """The loss of crops with one person each: keypoints [B, 1, K, 3], crop pixels."""
        heatmap = net(self.normalized(batch["image"]), train=True)
        shape = (heatmap.shape[1], heatmap.shape[2])
        targets = person_heatmaps.render_heatmaps(batch["keypoints"][:, 0], shape, self.sigma)
        return {"heatmap": person_heatmaps.heatmap_loss(heatmap, targets)}

    def keypoints(self, net: Any, pixels: jax.Array, *, flip: bool) -> jax.Array:
        """The keypoints of crops.

        Args:
            net: the bound network.
            pixels: uint8 [B, H, W, 3].
            flip: whether to average with the mirrored crops.

        Returns:
            [B, K, 3], x and y in crop pixels, and score.
        """
        inputs = self.normalized(pixels)
        if not flip:
            return person_heatmaps.read_keypoints(net(inputs))
        heatmap, mirrored = jnp.split(net(jnp.concatenate([inputs, inputs[:, :, ::-1]])), 2)
        permutation = self.skeleton.mirror_permutation
        averaged = person_heatmaps.average_mirrored(heatmap, mirrored, permutation)
        return person_heatmaps.read_keypoints(averaged)

    def people(
        self, keypoints: jax.Array, box_scores: jax.Array, area: jax.Array, mask: jax.Array
    ) -> PoseSet:
        """One pose a person, of all crops of an image.

        Args:
            keypoints: [N, K, 3], image pixels.
            box_scores: [N], of the boxes that were cropped.
            area: [N], of the crops in the image, pixels.
            mask: [N] booleans, False for padding.
        """
        scores = suppression.rescore(keypoints[..., 2], box_scores)
        poses = PoseSet(keypoints, scores, mask)
        return suppression.suppress_by_oks(poses, area, self.skeleton.sigmas)


@dataclasses.dataclass(frozen=True)
class SimpleBaseline(TopDown):
    """A ResNet and transposed convolutions (Xiao et al., ECCV 2018); as it stands, ResNet-50."""

    reads_bgr: ClassVar[bool] = True  # the released weights were trained so

    backbone: ResNetConfig = RESNET_50

    def network(self, **compute: Any) -> nn.Module:
        """The linen module; `compute` are its attributes of the same names."""
        return networks.SimpleBaseline(self.backbone, self.skeleton.num_keypoints, **compute)


@dataclasses.dataclass(frozen=True)
class TopDownHRNet(TopDown):
    """An HRNet's finest branch (Sun et al., CVPR 2019); as it stands, W32."""

    reads_bgr: ClassVar[bool] = False

    backbone: HRNetConfig = W32

    def network(self, **compute: Any) -> nn.Module:
        """The linen module; `compute` are its attributes of the same names."""
        return networks.TopDownHRNet(self.backbone, self.skeleton.num_keypoints, **compute)
