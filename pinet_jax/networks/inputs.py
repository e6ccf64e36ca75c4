"""Pixels as networks take them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(images: jax.Array) -> jax.Array:
    """uint8 RGB [..., 3] -> float32, ImageNet's mean 0 and standard deviation 1.

    Float images are taken to be normalised already, and come back as they are.
    """
    if jnp.issubdtype(images.dtype, jnp.floating):
        return images
    # As the reference does it: to [0, 1] first, then the two operations one by one.
    scaled = images.astype(jnp.float32) / 255.0
    shape = (1,) * (images.ndim - 1) + (3,)
    mean = np.array(IMAGENET_MEAN, np.float32).reshape(shape)
    std = np.array(IMAGENET_STD, np.float32).reshape(shape)
    return (scaled - mean) / std
