"""How configs' fields that are no plain values are written on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

from pinet_jax.networks import graphs
from pinet_jax.skeletons import Skeleton

_GRAPHS = {
    name: function
    for name, function in vars(graphs).items()
    if name.islower() and getattr(function, "__module__", None) == graphs.__name__
}


def field_types() -> ConstructorRegistry:
    """What to parse a command line inside of: a skeleton is a file, a graph is a name."""
    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _skeleton(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not Skeleton:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="SKELETON.JSON",
            instance_from_str=lambda words: Skeleton.from_json(Path(words[0])),
            is_instance=lambda value: isinstance(value, Skeleton),
            str_from_instance=lambda skeleton: [skeleton.name],
        )

    @registry.primitive_rule
    def _graph(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
        if info.type is not graphs.Graph:
            return None
        return PrimitiveConstructorSpec(
            nargs=1,
            metavar="{" + ",".join(_GRAPHS) + "}",
            instance_from_str=lambda words: _GRAPHS[words[0]],
            is_instance=callable,
            str_from_instance=lambda graph: [graph.__name__],
            choices=tuple(_GRAPHS),
        )

    return registry
