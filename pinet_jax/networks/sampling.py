"""Reading maps at places: between positions, and at integer ones.

Legend for shapes: B images, a map of h x w positions with C channels, M places.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp


def sample_bilinear(image: jax.Array, points: jax.Array) -> jax.Array:
    """Reads a map between its positions; zero outside of it.

    Args:
        image: [h, w, C].
        points: [..., 2], x and y; (0, 0) is the centre of the first position.

    Returns:
        [..., C], in the image's dtype.
    """
    corner = jnp.floor(points)
    fx, fy = points[..., 0] - corner[..., 0], points[..., 1] - corner[..., 1]
    x, y = corner[..., 0].astype(jnp.int32), corner[..., 1].astype(jnp.int32)
    h, w, _ = image.shape

    def read(dy: int, dx: int, weight: jax.Array) -> jax.Array:
        inside = (x + dx >= 0) & (x + dx < w) & (y + dy >= 0) & (y + dy < h)
        values = image[jnp.clip(y + dy, 0, h - 1), jnp.clip(x + dx, 0, w - 1)]
        return values * jnp.where(inside, weight, 0).astype(image.dtype)[..., None]

    top = read(0, 0, (1 - fy) * (1 - fx)) + read(0, 1, (1 - fy) * fx)
    return top + read(1, 0, fy * (1 - fx)) + read(1, 1, fy * fx)


def take_positions(maps: jax.Array, yx: jax.Array) -> jax.Array:
    """The values of [B, h, w, C] at integer positions [B, M, 2]: [B, M, C]."""
    # Mapped, so that a batch on several devices is read where it lies.
    return jax.vmap(lambda image, at: image[at[:, 0], at[:, 1]])(maps, yx)
