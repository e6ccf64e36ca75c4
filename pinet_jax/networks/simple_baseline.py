"""The network of top-down methods: a person's crop goes in, a heatmap for every keypoint comes out.

Over a ResNet, transposed convolutions bring its features to a quarter of the crop's resolution
(SimpleBaseline: Xiao et al., Simple baselines for human pose estimation and tracking, ECCV 2018);
an HRNet's are there already (Sun et al., Deep High-Resolution Representation Learning, CVPR 2019).

Legend for shapes: B crops of H x W pixels, maps of h = H / 4 by w = W / 4, C channels, K keypoints.
"""

from __future__ import annotations

import jax
from flax import linen as nn

from pinet_jax.networks import initializers
from pinet_jax.networks.backbones import Backbone
from pinet_jax.networks.layers import Compute, at_least_float32, make_layers, multiply, relu
from pinet_jax.networks.transposed_convolution import TransposedConv


class HeatmapNetwork(nn.Module):
    """A backbone, transposed convolutions and a 1 x 1 convolution.

    Attributes:
        backbone_config: what makes the features.
        upsampled_widths: channels of the transposed convolutions, each of which doubles the
            features' resolution.
        num_keypoints: K.
        compute: how it computes; heatmaps are float32.
    """

    backbone_config: Backbone
    upsampled_widths: tuple[int, ...]
    num_keypoints: int
    compute: Compute = Compute()

    def setup(self) -> None:
        """Makes the backbone."""
        self.backbone = self.backbone_config.module(self.compute)

    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalised crops [B, H, W, 3] -> heatmaps [B, h, w, K]; H and W are multiples of 32."""
        return self.head(self.backbone(images))

    @nn.compact
    def head(self, x: jax.Array) -> jax.Array:
        """The backbone's features -> heatmaps [B, h, w, K]."""
        _, norm = make_layers(self.compute)
        for i, width in enumerate(self.upsampled_widths):
            conv_name, norm_name = (f"deconv_layers.{3 * i + j}" for j in (0, 1))  # 2: a ReLU
            x = TransposedConv(width, self.compute, name=conv_name)(x)
            x = relu(norm(name=norm_name)(x))
        x = at_least_float32(x)
        final = nn.Conv(
            self.num_keypoints,
            (1, 1),
            dtype=x.dtype,
            kernel_init=initializers.normal(0.001),
            bias_init=initializers.zeros,
            conv_general_dilated=multiply,
            name="final_layer",
        )
        return final(x)
