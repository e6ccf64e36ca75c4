"""PINet: backbone, pose generation and pose refinement.

Legend for shapes: B images of H x W pixels, maps of h = H / 4 by w = W / 4 positions with C
channels, N poses, K keypoints, S parts.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax.models.config import BatchNormConfig, PINetConfig
from pinet_jax.models.hrnet import HRNet
from pinet_jax.models.pose_generation import Maps, PoseGeneration
from pinet_jax.models.refinement import PoseRefinement

Variables = dict[str, Any]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Outputs(NamedTuple):
    """Of the network on whole images.

    Attributes:
        features: [B, h, w, C], the backbone's.
        maps: what pose generation makes of them.
    """

    features: jax.Array
    maps: Maps


class PINet(nn.Module):
    """The network; call it for maps, and `refine` for poses.

    Attributes:
        config: what it is made of.
        folded: whether the variables went through `folding.fold_batch_norm` (inference only).
        dtype: of the backbone's and the graph's computation; maps and deltas are float32.
        batch_norm: how statistics are taken in training.
        remat: compute the backbone's inner results again for the gradient, to save memory.
    """

    config: PINetConfig
    folded: bool = False
    dtype: Any = jnp.float32
    batch_norm: BatchNormConfig = BatchNormConfig()
    remat: bool = False

    def setup(self) -> None:
        """Makes the three modules."""
        config = self.config
        options = {"folded": self.folded, "dtype": self.dtype, "batch_norm": self.batch_norm}
        self.backbone = HRNet(config.backbone, remat=self.remat, **options)
        self.ppg = PoseGeneration(config.skeleton.num_keypoints, len(config.parts))
        if config.refinement is not None:
            self.pr = PoseRefinement(config.refinement, config.skeleton, **options)

    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Features and maps.

        Args:
            images: [B, H, W, 3], normalised; H and W are multiples of 32.
            train: whether batch statistics are used and updated.

        Returns:
            The features and maps, at a quarter of the resolution.
        """
        features = self.backbone(images, train)
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
        train: bool = False,
    ) -> jax.Array:
        """What is to be subtracted from coarse poses; see `PoseRefinement`.

        Args:
            features: [B, h, w, C], the backbone's.
            poses: [B, N, K, 2], x and y in feature-map pixels.
            centers: [B, N, 2], integer y and x of the positions that the poses come from.
            mask: [B, N] booleans, the poses that count in batch statistics; None: all.
            train: whether batch statistics are used and updated.

        Returns:
            [B, N, K, 2].
        """
        return self.pr(features, poses, centers, mask, train)

    def everything(self, images: jax.Array) -> jax.Array:
        """Calls every layer once; `abstract_variables` learns the shapes from it."""
        features, maps = self(images)
        if self.config.refinement is None:
            return maps.heatmap
        count = self.config.skeleton.num_keypoints
        poses = jnp.zeros((images.shape[0], 1, count, 2))
        return self.refine(features, poses, jnp.zeros((images.shape[0], 1, 2), jnp.int32))


def normalize(images: jax.Array) -> jax.Array:
    """uint8 RGB [..., 3] -> float32, ImageNet's mean 0 and standard deviation 1."""
    # As the reference does it: to [0, 1] first, then the two operations one by one.
    scaled = images.astype(jnp.float32) / 255.0
    shape = (1,) * (images.ndim - 1) + (3,)
    mean = np.array(IMAGENET_MEAN, np.float32).reshape(shape)
    std = np.array(IMAGENET_STD, np.float32).reshape(shape)
    return (scaled - mean) / std


def abstract_variables(config: PINetConfig, *, folded: bool = False) -> Variables:
    """The shapes and dtypes of a network's variables; nothing is compiled or computed."""
    model = PINet(config, folded=folded)
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    return jax.eval_shape(
        lambda image: model.init(jax.random.key(0), image, method="everything"), image
    )
