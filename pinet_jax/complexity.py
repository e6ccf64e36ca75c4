"""How large a network is and how much it computes (Table 3 of the paper), counted in two ways.

*By layer*: from the shapes of every convolution, dense layer and graph convolution, as papers
count; products with the zeros of the padding are among them. *Compiled*: half the floating-point
operations that XLA finds in the compiled program. It leaves out what is multiplied with padding,
and adds what papers leave out: sums, ReLUs, upsampling (as matrix products), and adjacencies that
a graph makes of the features.

Legend for shapes: B images of H x W pixels, maps of h x w positions with C channels, N poses,
K keypoints.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from pinet_jax.decoding import PEAKS_PER_PART
from pinet_jax.errors import UsageError
from pinet_jax.inference import STRIDE, cpu_compiler_options
from pinet_jax.models.config import PINetConfig
from pinet_jax.models.pinet import PINet, abstract_variables
from pinet_jax.models.refinement import GraphMixing

_MULTIPLE = 32  # of the input's sides: the stride of the backbone's lowest branch


@dataclasses.dataclass(frozen=True)
class Complexity:
    """Of one module on one image.

    Attributes:
        parameters: that are trained; running statistics are not among them.
        multiply_adds: by layer, padding included.
        on_padding: how many of them have a factor from the padding.
        compiled: half of the compiled program's floating-point operations.
    """

    parameters: int
    multiply_adds: int
    on_padding: int
    compiled: float

    def __add__(self, other: Complexity) -> Complexity:
        """Of both modules together."""
        pairs = zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)
        return Complexity(*(a + b for a, b in pairs))


def count_complexity(config: PINetConfig, shape: tuple[int, int]) -> dict[str, Complexity]:
    """Counts every module of a network on one image: one pass, without a mirrored image.

    Refinement is that of as many poses as inference decodes, 30 a part. The compiled programs are
    those of inference, with the normalisations folded.

    Args:
        config: the network.
        shape: H and W of the image.

    Returns:
        By name: backbone, pose generation and, if the network has it, refinement.

    Raises:
        UsageError: the sides are no multiples of 32.
    """
    if any(side < _MULTIPLE or side % _MULTIPLE for side in shape):
        raise UsageError(f"--size {' '.join(map(str, shape))}: use multiples of {_MULTIPLE}")
    trained = abstract_variables(config)["params"]
    variables = abstract_variables(config, folded=True)
    model = PINet(config, folded=True)

    def count(part: str, run: Callable[..., Any], *inputs: jax.ShapeDtypeStruct) -> Complexity:
        def program(variables: Any, *inputs: jax.Array) -> Any:
            return nn.apply(run, model)(variables, *inputs)

        products, on_padding = count_layers(program, variables, *inputs)
        return Complexity(
            parameters=sum(math.prod(x.shape) for x in jax.tree.leaves(trained.get(part, {}))),
            multiply_adds=products,
            on_padding=on_padding,
            compiled=count_compiled(program, variables, *inputs) / 2,
        )

    def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct((1, *shape), dtype)

    features = array(shape[0] // STRIDE, shape[1] // STRIDE, config.backbone.features)
    counts = {
        "backbone": count("backbone", lambda net, x: net.backbone(x, False), array(*shape, 3)),
        "pose generation": count("ppg", PINet.generate, features),
    }
    if config.refinement is not None:
        poses = PEAKS_PER_PART * len(config.parts)
        points = array(poses, config.skeleton.num_keypoints, 2)
        centers = array(poses, 2, dtype=jnp.int32)
        counts["refinement"] = count("pr", PINet.refine, features, points, centers)
    return counts


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
    lowered = jax.jit(program, compiler_options=cpu_compiler_options()).lower(*inputs)
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
    if isinstance(layer, GraphMixing):
        *_, keypoints, width = out.shape
        return math.prod(out.shape) * (width + keypoints), 0  # X W, then G X W
    return 0, 0


def _taps_inside(size: int, outputs: int, kernel: int) -> int:
    """How often, along one axis, a tap of the kernel lies on the input and not on its padding."""
    stride, padding = size // outputs, kernel // 2  # as in all our convolutions
    starts = [place * stride - padding for place in range(outputs)]
    return sum(0 <= start + tap < size for start in starts for tap in range(kernel))
