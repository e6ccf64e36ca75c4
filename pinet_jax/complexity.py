"""How large a network is and how much it computes (Table 3 of the paper), counted in two ways.

*By layer*: from the shapes of every convolution and dense layer, and of layers that count
themselves (a method `multiply_adds` of their inputs), as papers count; products with the zeros of
the padding are among them. *Compiled*: half the floating-point operations that XLA finds in the
compiled program. It leaves out what is multiplied with padding, and adds what papers leave out:
sums, ReLUs, upsampling (as matrix products), and adjacencies that a graph makes of the features.

Legend for shapes: frames of H x W pixels.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any, Self

import jax
from flax import linen as nn

from pinet_jax.errors import UsageError
from pinet_jax.methods.base import CountedModule, Method, abstract_variables
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import compiler_options

_MULTIPLE = 32  # of the input's sides: the stride of the backbone's lowest branch


@dataclasses.dataclass(frozen=True)
class ByLayer:
    """What a module's layers have, on one image.

    Attributes:
        parameters: that are trained; running statistics are not among them.
        multiply_adds: padding included.
        on_padding: how many of them have a factor from the padding.
    """

    parameters: int
    multiply_adds: int
    on_padding: int

    def __add__(self, other: Self) -> Self:
        """Of both modules together."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return type(self)(*(a + b for a, b in pairs))


@dataclasses.dataclass(frozen=True)
class Complexity(ByLayer):
    """Of one module on one image.

    Attributes:
        compiled: half of the compiled program's floating-point operations.
    """

    compiled: float


def count_by_layer(method: Method, shape: tuple[int, int]) -> dict[str, ByLayer]:
    """Counts every module's layers on one frame: one pass, without a mirrored frame.

    Nothing is compiled.

    Args:
        method: the method.
        shape: H and W of the frame.

    Returns:
        By the names of `Method.modules`.

    Raises:
        UsageError: the sides are no multiples of 32.
    """
    if any(side < _MULTIPLE or side % _MULTIPLE for side in shape):
        raise UsageError(f"size {' '.join(map(str, shape))}: use multiples of {_MULTIPLE}")
    trained = abstract_variables(method)["params"]

    def count(module: CountedModule) -> ByLayer:
        leaves = jax.tree.leaves([trained.get(layer, {}) for layer in module.layers])
        parameters = sum(math.prod(x.shape) for x in leaves)
        return ByLayer(parameters, *count_layers(*_call(method, module)))

    return {name: count(module) for name, module in method.modules(shape).items()}


def count_complexity(method: Method, shape: tuple[int, int]) -> dict[str, Complexity]:
    """Counts every module in both ways; see `count_by_layer`.

    The compiled programs are those of inference, with the normalisations folded.

    Args:
        method: the method.
        shape: H and W of the frame.

    Raises:
        UsageError: the sides are no multiples of 32.
    """
    modules = method.modules(shape)
    return {
        name: Complexity(
            **dataclasses.asdict(by_layer),
            compiled=count_compiled(*_call(method, modules[name])) / 2,
        )
        for name, by_layer in count_by_layer(method, shape).items()
    }


def _call(method: Method, module: CountedModule) -> tuple[Any, ...]:
    """The module's program, and the shapes of its arguments."""
    program = nn.apply(module.run, method.network(Compute(folded=True)))
    return program, _folded_variables(method), *module.inputs


@functools.lru_cache(maxsize=1)
def _folded_variables(method: Method) -> Any:
    """Shapes; tracing takes seconds, and every module needs them."""
    return abstract_variables(method, folded=True)


def count_layers(program: Callable[..., Any], *inputs: Any) -> tuple[int, int]:
    """Multiply-adds of the linen layers that a function calls; nothing is computed.

    Args:
        program: of arrays.
        inputs: their shapes.

    Returns:
        All, and those of them with a factor from the padding.
    """
    layers: list[tuple[int, int]] = []

    def note(call: Callable[..., Any], args: Any, kwargs: Any, context: Any) -> Any:
        out = call(*args, **kwargs)
        if context.method_name == "__call__":
            layers.append(_layer_multiply_adds(context.module, args, out))
        return out

    with nn.intercept_methods(note):
        jax.eval_shape(program, *inputs)
    return sum(products for products, _ in layers), sum(padding for _, padding in layers)


def count_compiled(program: Callable[..., Any], *inputs: Any) -> float:
    """Floating-point operations of a compiled function, as XLA counts them.

    Args:
        program: of arrays.
        inputs: their shapes.
    """
    options = compiler_options(jax.default_backend())
    lowered = jax.jit(program, compiler_options=options).lower(*inputs)
    analysis: Any = lowered.compile().cost_analysis()
    return analysis["flops"]


def _layer_multiply_adds(layer: nn.Module, args: Any, out: Any) -> tuple[int, int]:
    """Of one layer: all, and those on padding; both 0 for a module that only holds layers."""
    if isinstance(layer, nn.Conv):
        shape: tuple[int, ...] = layer.get_variable("params", "kernel").shape
        *kernel, channels, outputs = shape
        images, *size_out, _ = out.shape
        sizes = zip(args[0].shape[1:3], size_out, kernel, strict=True)
        products = images * channels * outputs
        taps = math.prod(size_out) * math.prod(kernel)
        return products * taps, products * (taps - math.prod(_taps_inside(*s) for s in sizes))
    if isinstance(layer, nn.Dense):
        return math.prod(out.shape) * args[0].shape[-1], 0
    own = getattr(layer, "multiply_adds", None)  # layers of ours count themselves
    return (0, 0) if own is None else (own(*args), 0)


def _taps_inside(size: int, outputs: int, kernel: int) -> int:
    """How often, along one axis, a tap of the kernel lies on the input and not on its padding."""
    stride, padding = size // outputs, kernel // 2  # as in all our convolutions
    starts = [place * stride - padding for place in range(outputs)]
    return sum(0 <= start + tap < size for start in starts for tap in range(kernel))
