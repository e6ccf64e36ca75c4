"""What most backbones say of published ImageNet networks of their kind."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np


class PublishedAsIs:
    """Of a backbone config: published arrays are all of its own, and fit as they are."""

    @property
    def imagenet_lacks(self) -> tuple[str, ...]:
        """Nothing."""
        return ()

    def adapt_imagenet(self, state: Mapping[str, np.ndarray]) -> Mapping[str, np.ndarray]:
        """The published arrays."""
        return state
