"""Proportions of bodies, and what of their clothes and hair is geometry."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from data_pipelines.synthetic_crowds.dice import Dice


class Shape(NamedTuple):
    """A body's proportions, each a factor about 1 (float32 scalars)."""

    height: jax.Array  # of the person among others
    head: jax.Array
    torso: jax.Array
    shoulders: jax.Array
    hips: jax.Array
    arms: jax.Array
    legs: jax.Array
    girth: jax.Array
    belly: jax.Array


def sample_shape(key: jax.Array) -> Shape:
    """Draws an adult or, one time in seven, a child."""
    dice = Dice(key, 11)
    child = dice.sometimes(0.14, 0.4, 1.0)

    def about_one(spread: float) -> jax.Array:
        return 1.0 + spread * dice.normal()

    girth = about_one(0.11)
    return Shape(
        height=about_one(0.06) * (1.0 - 0.38 * child),
        head=about_one(0.04) * (1.0 + 0.42 * child),
        torso=about_one(0.035),
        shoulders=about_one(0.07) * (1.0 - 0.08 * child),
        hips=about_one(0.08),
        arms=about_one(0.035) * (1.0 - 0.08 * child),
        legs=about_one(0.035) * (1.0 - 0.12 * child),
        girth=girth,
        belly=jnp.maximum(girth, 0.9) * (1.0 + 0.1 * jnp.abs(dice.normal())),
    )


class Dress(NamedTuple):
    """What of the clothes and hair is geometry (float32 scalars)."""

    skirt: jax.Array  # its length in thighs, 0 for none
    trouser_width: jax.Array  # factor on the shins' radius
    hair: jax.Array  # thickness in head radii
    long_hair: jax.Array  # its length in head heights, 0 for none
    brim: jax.Array  # of a cap, 0 for none
    backpack: jax.Array  # size, 0 for none
