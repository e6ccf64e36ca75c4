"""Random numbers drawn all at once and handed out one by one.

A scene takes hundreds of small draws. Made one by one, each is a loop of its own to the compiler,
and they were most of a minute of compilation.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp

_WITHIN_TWO_SIGMA = 0.9544997  # of a normal distribution


class Dice:
    """A fixed count of rolls from one key; used while tracing, never inside a loop."""

    def __init__(self, key: jax.Array, rolls: int, shape: tuple[int, ...] = ()) -> None:
        """Rolls.

        Args:
            key: random key.
            rolls: how many numbers will be taken at most.
            shape: of every number.
        """
        self._rolls = jax.random.uniform(key, (rolls, *shape))
        self._left = list(range(rolls))

    def uniform(self, low: float | jax.Array = 0.0, high: float | jax.Array = 1.0) -> jax.Array:
        """A number between two others."""
        return low + self._rolls[self._left.pop()] * (high - low)

    def normal(self) -> jax.Array:
        """A standard normal number, cut at two standard deviations."""
        return _normal(self._rolls[self._left.pop()])

    def chance(self, probability: float) -> jax.Array:
        """True with a probability."""
        return self._rolls[self._left.pop()] < probability

    def sometimes(self, probability: float, low: float, high: float) -> jax.Array:
        """With a probability a number between two others, else 0."""
        return jnp.where(self.chance(probability), self.uniform(low, high), 0.0)

    def below(self, count: int | jax.Array) -> jax.Array:
        """A whole number from 0 to count - 1, int32."""
        count = jnp.asarray(count, jnp.int32)
        drawn = (self.uniform() * count.astype(jnp.float32)).astype(jnp.int32)
        return jnp.minimum(drawn, count - 1)

    def choose(self, shares: jax.Array) -> jax.Array:
        """An index with the frequencies of `shares` [n], int32 []; for numbers without a shape."""
        upto = jnp.cumsum(shares)
        return jnp.sum(self.uniform() * upto[-1] >= upto[:-1])

    def uniforms(self, count: int) -> jax.Array:
        """Several numbers in 0..1, [count, *shape]."""
        return jnp.stack([self.uniform() for _ in range(count)])

    def normals(self, count: int) -> jax.Array:
        """Several normal numbers, [count, *shape]."""
        taken = [self._left.pop() for _ in range(count)]
        return _normal(self._rolls[taken[-1] : taken[0] + 1])


def _normal(uniform: jax.Array) -> jax.Array:
    return math.sqrt(2.0) * jax.lax.erf_inv(_WITHIN_TWO_SIGMA * (2.0 * uniform - 1.0))
