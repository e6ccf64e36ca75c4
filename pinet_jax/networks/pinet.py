"""The network of PINet: backbone, pose generation and pose refinement.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions with C
channels, N poses, K keypoints.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.networks.backbones import Backbone
from pinet_jax.networks.heads import Maps, PoseGeneration
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.refinement import PoseRefinement, RefinementConfig
from pinet_jax.skeletons import Skeleton


class Outputs(NamedTuple):
    """Of the network on whole images.

    Attributes:
        features: [B, h, w, C], the backbone's.
        maps: what pose generation makes of them.
    """

    features: jax.Array
    maps: Maps


class PINetNetwork(nn.Module):
    """Call it for maps, and `refine` for poses.

    Attributes:
        skeleton: the keypoints.
        num_parts: the parts that vote for poses.
        backbone_config: what makes the features.
        refinement: the graph network; None: there is none.
        compute: how it computes; maps and refinements are float32.
    """

    skeleton: Skeleton
    num_parts: int
    backbone_config: Backbone
    refinement: RefinementConfig | None
    compute: Compute = Compute()

    def setup(self) -> None:
        """Makes the three modules."""
        self.backbone = self.backbone_config.module(self.compute)
        self.ppg = PoseGeneration(
            self.skeleton.num_keypoints, self.num_parts, joined=self.compute.tpus is not None
        )
        if self.refinement is not None:
            self.pr = PoseRefinement(self.refinement, self.skeleton, self.compute)

    def __call__(self, images: jax.Array) -> Outputs:
        """Features and maps, at a quarter of the resolution.

        Args:
            images: [B, H, W, 3], normalised; H and W are multiples of 32.
        """
        features = self.backbone(images)
        if self.is_initializing() and self.refinement is not None:
            poses = jnp.zeros((len(images), 1, self.skeleton.num_keypoints, 2))
            self.refine(features, poses, jnp.zeros((len(images), 1, 2), jnp.int32))
        return Outputs(features, self.generate(features))

    def generate(self, features: jax.Array) -> Maps:
        """Pose generation on features [B, h, w, C]: of a whole map, or of single positions."""
        return self.ppg(features)

    def refine(
        self,
        features: jax.Array,
        poses: jax.Array,
        centers: jax.Array,
        mask: jax.Array | None = None,
    ) -> jax.Array:
        """What is to be subtracted from coarse poses; see `PoseRefinement`.

        Args:
            features: [B, h, w, C], the backbone's.
            poses: [B, N, K, 2], x and y in feature-map pixels.
            centers: [B, N, 2], integer y and x of the positions that the poses come from.
            mask: [B, N] booleans, the poses that count in batch statistics; None: all.

        Returns:
            [B, N, K, 2].
        """
        return self.pr(features, poses, centers, mask)
