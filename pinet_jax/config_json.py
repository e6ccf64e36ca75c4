"""Frozen dataclasses as JSON, as checkpoints carry them.

A field may hold a number, a text, None, a tuple, a dataclass of these, a skeleton or a graph
function. Where a field's type is a union of dataclasses, the JSON names one as its "kind"; without
a name, the union's first is meant.
"""

from __future__ import annotations

import dataclasses
import json
import numbers
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pinet_jax.errors import InputError
from pinet_jax.networks import graphs
from pinet_jax.skeletons import Skeleton

_KIND = "kind"
# A field's type, and what may stand in it; NumPy's numbers are numbers, too.
_SCALARS: dict[type, type] = {
    bool: bool,
    int: numbers.Integral,
    float: numbers.Real,
    str: str,
}
_OLD_GRAPHS = "pinet_jax.models.graphs"  # in files of before networks had a folder of their own


def to_json(value: Any) -> Any:
    """A JSON value that `from_json` reads back."""
    if isinstance(value, Skeleton):
        return value.to_json()
    if dataclasses.is_dataclass(value):
        fields = {f.name: to_json(getattr(value, f.name)) for f in dataclasses.fields(value)}
        return {_KIND: type(value).__name__, **fields}
    if isinstance(value, tuple):
        return [to_json(item) for item in value]
    if callable(value):
        return f"{value.__module__}:{value.__qualname__}"
    return value


def from_json(kind: Any, content: Any, where: str) -> Any:
    """Reads a value back.

    Args:
        kind: its type: a dataclass, or a union of dataclasses.
        content: what `to_json` made; fields that it lacks have their defaults.
        where: what to call it in errors.

    Raises:
        InputError: it is not of this type, or its graph is a function of the user's own. Such a
            function is never imported by a name that a file holds: the file may be a stranger's.
    """
    try:
        return _read(kind, content, where)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: its config cannot be read ({error!r})") from error


def _read(kind: Any, content: Any, where: str) -> Any:
    if kind is Skeleton:
        return Skeleton.from_json(content)
    if kind is graphs.Graph:
        return _graph(content, where)
    if dataclasses.is_dataclass(kind):
        return _dataclass(kind, content, where)
    origin = typing.get_origin(kind)
    if origin in (types.UnionType, typing.Union):
        return _union(typing.get_args(kind), content, where)
    if origin is tuple:
        if not isinstance(content, list | tuple):
            raise InputError(f"{where}: {content!r} is no list")
        inner = [k for k in typing.get_args(kind) if k is not Ellipsis]
        kinds = inner * len(content) if len(inner) == 1 else inner
        return tuple(_read(k, item, where) for k, item in zip(kinds, content, strict=True))
    if kind in _SCALARS:
        return _scalar(kind, content, where)
    return content


def _scalar(kind: type, content: Any, where: str) -> Any:
    """A float may be written without a point; a bool is no number."""
    wanted = _SCALARS[kind]
    if not isinstance(content, wanted) or (isinstance(content, bool) and kind is not bool):
        raise InputError(f"{where}: {content!r} is no {kind.__name__}")
    return content


def _dataclass(kind: Any, content: Mapping[str, Any], where: str) -> Any:
    if content.get(_KIND, kind.__name__) != kind.__name__:
        raise InputError(f"{where}: holds a {content[_KIND]}, not a {kind.__name__}")
    hints = typing.get_type_hints(kind)
    unknown = content.keys() - {field.name for field in dataclasses.fields(kind)} - {_KIND}
    if unknown:
        raise InputError(f"{where}: {kind.__name__} has no field {', '.join(sorted(unknown))}")
    fields = {n: _read(hints[n], v, f"{where}: {n}") for n, v in content.items() if n != _KIND}
    return kind(**fields)


def _union(kinds: tuple[Any, ...], content: Any, where: str) -> Any:
    if content is None and type(None) in kinds:
        return None
    others = [kind for kind in kinds if kind is not type(None)]
    if not isinstance(content, Mapping):
        return _read(others[0], content, where)
    named: dict[str, Any] = {kind.__name__: kind for kind in others}
    name = content.get(_KIND, next(iter(named)))
    if name not in named:
        raise InputError(f"{where}: holds a {name}; known are {', '.join(named)}")
    return _read(named[name], content, where)


def _graph(content: str, where: str) -> graphs.Graph:
    module, _, name = content.partition(":")
    graph = getattr(graphs, name, None)
    known = module in (graphs.__name__, _OLD_GRAPHS)
    if not known or getattr(graph, "__module__", None) != graphs.__name__:
        raise InputError(
            f"{where}: was trained with your own graph {content}; give its config, too"
        )
    return graph  # type: ignore[return-value]


def differences(stored: Any, ours: Any, name: str = "") -> Iterator[str]:
    """What a stored JSON value differs in from ours, a line each.

    Fields that the stored one lacks are left out: it may be older than they are.
    """
    if isinstance(stored, Mapping) and isinstance(ours, Mapping):
        for key in sorted(stored):
            yield from differences(stored[key], ours.get(key), f"{name}.{key}" if name else key)
    elif stored != ours and _comparable(stored) != _comparable(ours):  # 2.0 epochs are 2
        yield f"{name} is {_comparable(stored):.60} there and {_comparable(ours):.60} in the config"


def _comparable(value: Any) -> str:
    return json.dumps(value).replace(_OLD_GRAPHS, graphs.__name__)
