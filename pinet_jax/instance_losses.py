"""Losses for heatmaps of rare peaks, and for telling the people of an image apart.

Legend for shapes: B images, N people of an image (padded), C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

_TEMPERATURE = 0.05
_SHORTEST = 1e-12  # vectors shorter than this are not normalised


class FocalSums(NamedTuple):
    """A focal loss before it is divided: sums of several sets of maps are added.

    Attributes:
        loss: the sum over all entries, a scalar.
        peaks: how many entries are peaks, a scalar.
    """

    loss: jax.Array
    peaks: jax.Array

    def mean(self) -> jax.Array:
        """The loss a peak; of maps without any, the sum."""
        return self.loss / jnp.maximum(self.peaks, 1)


def focal_sums(probability: jax.Array, target: jax.Array, mask: jax.Array) -> FocalSums:
    """The focal loss of heatmaps whose peaks are exactly 1.

    Other entries count less the nearer they are to a peak, and all entries less the better they
    are.

    Args:
        probability: in 0..1, neither included; any shape.
        target: the same shape, in 0..1.
        mask: of a shape that broadcasts; what is 0 does not count.

    References:
        Law and Deng, CornerNet, ECCV 2018, equation 1 with alpha 2 and beta 4.
    """
    p = probability
    is_peak = target == 1
    of_peak = (1 - p) ** 2 * jnp.log(p)
    of_rest = (1 - target) ** 4 * p**2 * jnp.log(1 - p)
    mask = jnp.broadcast_to(mask, target.shape)
    loss = -(mask * jnp.where(is_peak, of_peak, of_rest)).sum()
    return FocalSums(loss, jnp.where(is_peak, mask, 0).sum())


def contrastive_loss(vectors: jax.Array, mask: jax.Array) -> jax.Array:
    """Pushes the people of one image apart: the cross entropy of everybody's likeness to oneself.

    Args:
        vectors: [B, N, C], one a person.
        mask: bool [B, N], False for padding.

    Returns:
        The mean over all people of the batch; 0 without any. A person alone in its image adds 0.

    References:
        Wang and Zhang, Contextual Instance Decoupling, CVPR 2022, and its released code.
    """
    square = (vectors**2).sum(axis=-1, keepdims=True)
    # The root of the greater one, not the greater root: its gradient at 0 would be no number.
    unit = vectors / jnp.sqrt(jnp.maximum(square, _SHORTEST**2))
    likeness = jnp.einsum("bnc,bmc->bnm", unit, unit) / _TEMPERATURE
    # Padding is like itself alone: a row without anything would have no finite gradient.
    counts = mask[:, None, :] | jnp.eye(mask.shape[1], dtype=bool)[None]
    likeness = jnp.where(counts, likeness, -jnp.inf)
    own = jnp.einsum("bnc,bnc->bn", unit, unit) / _TEMPERATURE
    everybody = jax.nn.logsumexp(likeness, axis=-1)
    total = jnp.where(mask, everybody - own, 0).sum()
    return total / jnp.maximum(mask.sum(), 1).astype(total.dtype)
