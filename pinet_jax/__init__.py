"""PINet in JAX: complete poses of everybody in a crowd, in one compiled program."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pinet_jax.pictures import PicturePredictor


def load(checkpoint: str | PathLike | None = None, **inference: Any) -> PicturePredictor:
    """A predictor that takes pictures of any kind: `pinet_jax.load()("photo.jpg").draw()`.

    Args:
        checkpoint: what `train`, `convert` or `export` wrote; the network that comes with the
            package if None.
        **inference: fields of the test procedure and their values, such as `flip=False`; the
            others are the checkpoint's own.

    Raises:
        InputError: it is no whole checkpoint, or the test procedure has no such field.
    """
    from pinet_jax.pictures import load_predictor  # JAX takes a second, which `import` need not

    return load_predictor(checkpoint, inference)
