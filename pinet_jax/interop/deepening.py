"""A deeper network out of a trained one, to go on training with."""

from __future__ import annotations

import re

import numpy as np

from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.methods.base import Method, init_variables
from pinet_jax.networks.initializers import Variables

# The normalisation at the end of a block's branch, and of what one resolution adds to another.
_END_OF_BLOCK = re.compile(r"\.(layer1\.\d+\.bn3|branches\.\d+\.\d+\.bn2)\.weight")
_NORM_OF_FUSION = re.compile(r"\.fuse_layers\.(\d+)\.(\d+)\.(?:(\d+)\.)?1\.weight")


def deepened(variables: Variables, method: Method, seed: int = 0) -> Variables:
    """A deeper network that computes the same as a trained one.

    Further blocks and modules begin as identities: what they add to their input ends in a
    normalisation, and its scale is 0.

    Args:
        variables: of a network that differs from `method`'s in that its backbone, an HRNet, has
            fewer bottlenecks, modules or blocks.
        method: with the deeper network.
        seed: of the further blocks' random numbers.

    Returns:
        float32 NumPy arrays.

    Raises:
        InputError: the networks differ in something else; the message lists it.
    """
    held, deeper = (
        to_state_dict(variables, method),
        to_state_dict(init_variables(method, seed), method),
    )
    for name in filter(_scales_a_summand, deeper):
        deeper[name] = np.zeros_like(deeper[name])
    return from_state_dict(deeper | held, method, where="the shallower network")


def _scales_a_summand(name: str) -> bool:
    """Whether an entry is the scale by which a block, or a resolution, adds to another input."""
    fusion = _NORM_OF_FUSION.search(name)
    if fusion is None:
        return _END_OF_BLOCK.search(name) is not None
    to, of, step = fusion.groups()
    return step is None or int(step) == int(to) - int(of) - 1  # the last step down
