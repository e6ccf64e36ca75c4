"""How layers begin: rules that modules carry, and a fast way to draw by them on the host.

A rule is a linen initializer, `rule(key, shape, dtype)`, so that `network.init` works as always. It
draws with NumPy, which needs no compilation; `draw_variables` asks the modules for their rules and
draws without running the network.
"""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

Variables = dict[str, Any]  # "params" and, where there is batch normalisation, "batch_stats"
Shape = tuple[int, ...]
Draw = Callable[[np.random.Generator, Shape], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Initializer:
    """A rule.

    Attributes:
        draw: a function of a NumPy generator and a shape.
    """

    draw: Draw

    def __call__(self, key: jax.Array | None, shape: Shape, dtype: Any = jnp.float32) -> jax.Array:
        """The first value of a variable; linen calls it.

        Args:
            key: of JAX; None where nothing is random.
            shape: of the variable.
            dtype: of the variable.
        """
        shape = tuple(shape)

        def values(seed: Any = 0) -> np.ndarray:
            generator = np.random.default_rng(np.ravel(seed))
            return self.draw(generator, shape).astype(dtype)

        if key is None:
            value = jnp.asarray(values())
        elif isinstance(key, jax.core.Tracer):
            data = jax.random.key_data(key)
            out = jax.ShapeDtypeStruct(shape, dtype)
            value = jax.pure_callback(values, out, data, vmap_method="sequential")
        else:
            value = jnp.asarray(values(jax.random.key_data(key)))
        notes = _notes.get()
        if notes is not None:
            notes.append((value, self))
        return value


def constant(value: float) -> Initializer:
    """The same number everywhere."""
    return Initializer(lambda generator, shape: np.full(shape, value, np.float32))


zeros, ones = constant(0), constant(1)


def fixed(array: np.ndarray) -> Initializer:
    """These numbers."""
    return Initializer(lambda generator, shape: np.asarray(array, np.float32).reshape(shape))


def normal(deviation: float) -> Initializer:
    """Normal numbers around 0."""
    return Initializer(
        lambda generator, shape: (
            np.float32(deviation) * generator.standard_normal(shape, np.float32)
        )
    )


def he_normal(fan_in: int) -> Initializer:
    """Normal numbers that keep a ReLU network's activations at one scale (He et al., 2015)."""
    return normal(math.sqrt(2 / fan_in))


def uniform(bound: float) -> Initializer:
    """Uniform in +-bound."""

    def draw(generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return np.float32(bound) * (2 * generator.random(shape, np.float32) - 1)

    return Initializer(draw)


def fan_in_uniform(fan_in: int) -> Initializer:
    """Uniform in +-1 / sqrt(fan_in): torch's default of layers and their biases."""
    return uniform(1 / math.sqrt(fan_in))


def xavier_uniform(gain: float = 1.0) -> Initializer:
    """Xavier's uniform rule for matrices [in, out]."""

    def draw(generator: np.random.Generator, shape: Shape) -> np.ndarray:
        return uniform(gain * math.sqrt(6 / (shape[0] + shape[1]))).draw(generator, shape)

    return Initializer(draw)


def draw_variables(network: nn.Module, seed: int = 0) -> Variables:
    """What `network.init` makes, drawn on the host; nothing is compiled.

    Args:
        network: called with images [1, 64, 64, 3].
        seed: of the random numbers.

    Returns:
        NumPy arrays under "params" and, where the network has them, "batch_stats".
    """
    rules: list[Initializer] = []

    def traced(image: jax.Array) -> Variables:
        with _noting() as notes:
            variables = dict(network.init(jax.random.key(0), image))
        known = {id(value): rule for value, rule in notes}
        for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
            if id(leaf) not in known:
                name = jax.tree_util.keystr(path, simple=True, separator="/")
                raise TypeError(f"{name}: its layer must begin by a rule of networks.initializers")
            rules.append(known[id(leaf)])
        return variables

    leaves, structure = jax.tree.flatten(jax.eval_shape(traced, _IMAGE))
    generator = np.random.default_rng(seed)
    drawn = [
        rule.draw(generator, leaf.shape).astype(leaf.dtype)
        for rule, leaf in zip(rules, leaves, strict=True)
    ]
    return jax.tree.unflatten(structure, drawn)


def abstract_variables(network: nn.Module) -> Variables:
    """The shapes and dtypes of what `network.init` makes; nothing is computed."""
    return jax.eval_shape(lambda image: network.init(jax.random.key(0), image), _IMAGE)


_IMAGE = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)

_Notes = list[tuple[jax.Array, Initializer]]
_notes: contextvars.ContextVar[_Notes | None] = contextvars.ContextVar("notes", default=None)


@contextlib.contextmanager
def _noting() -> Iterator[_Notes]:
    """A list of every value that a rule makes inside, and of the rule."""
    notes: _Notes = []
    token = _notes.set(notes)
    try:
        yield notes
    finally:
        _notes.reset(token)
