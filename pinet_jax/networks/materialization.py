"""Where XLA's CPU fusion has to stop.

On a CPU, fusion would compute a layer's output, and what it is made of, anew in every reader:
through a chain of residual blocks that takes longer than the convolutions. `materialized` keeps it
from doing so, in programs for CPUs alone: an accelerator's fusion saves memory traffic.
"""

from __future__ import annotations

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir


def materialized(x: jax.Array) -> jax.Array:
    """The same; in a program for a CPU it is computed once, and in memory, for all that read it.

    Decided where the program is lowered. Holds under `runtime.compiler_options` alone.
    """
    return _materialized_p.bind(x)


_materialized_p = Primitive("materialized")
_materialized_p.def_impl(lambda x: x)
_materialized_p.def_abstract_eval(lambda x: x)
ad.deflinear2(_materialized_p, lambda cotangent, _: [materialized(cotangent)])
batching.defvectorized(_materialized_p)
mlir.register_lowering(_materialized_p, lambda context, x: [x])
mlir.register_lowering(
    _materialized_p,
    mlir.lower_fun(jax.lax.optimization_barrier, multiple_results=False),
    platform="cpu",
)
