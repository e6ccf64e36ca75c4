"""What a backbone is, and which there are: configs that make their own modules."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Protocol

import numpy as np
from flax import linen as nn

from pinet_jax.networks.efficientnet import EfficientNetLiteConfig
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.layers import Compute


class Backbone(Protocol):
    """A frozen dataclass: the widths and depths of a network from images to features."""

    __dataclass_fields__: ClassVar[dict[str, Any]]  # for type checkers: `replace` takes it

    @property
    def features(self) -> int:
        """Channels of the output."""

    @property
    def imagenet_extras(self) -> tuple[str, ...]:
        """What published ImageNet networks have beside the backbone: beginnings of names."""

    @property
    def imagenet_lacks(self) -> tuple[str, ...]:
        """What the backbone has beside a published ImageNet network: beginnings of names."""

    def adapt_imagenet(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """Published arrays as this backbone computes with them."""

    def module(self, compute: Compute) -> nn.Module:
        """A module that takes normalised images [B, H, W, 3] to features [B, h, w, features]."""


# Fields of methods have this type: a union of all, of which a config's JSON names one; the first
# is meant where a file names none.
AnyBackbone = HRNetConfig | EfficientNetLiteConfig
