"""What a compiled program sends between devices, read from its text.

XLA's own analysis counts operations and bytes of memory, and no collectives.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from typing import NamedTuple

_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
# "%name = TYPE opcode(...)": of an asynchronous pair the start alone.
_COLLECTIVE = re.compile(rf"^\s*(?:ROOT )?%\S+ = (.+?) ({_KINDS})(?:-start)?\(", re.MULTILINE)
_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\]")
_COMMENT = re.compile(r"/\*.*?\*/")


class Collective(NamedTuple):
    """One instruction.

    Attributes:
        kind: its name in HLO: all-reduce, all-gather, ...
        dtypes: of the arrays, each once.
        bytes: that each device puts in.
    """

    kind: str
    dtypes: tuple[str, ...]
    bytes: int


def find_collectives(program: str) -> list[Collective]:
    """All collectives of a program; one inside a loop counts once.

    Args:
        program: the text of a compiled program, in HLO.
    """
    return [
        _collective(match[2], _COMMENT.sub("", match[1])) for match in _COLLECTIVE.finditer(program)
    ]


def _collective(kind: str, result: str) -> Collective:
    arrays = _ARRAY.findall(result)
    sizes = Counter[str]()
    for dtype, shape in arrays:
        sizes[dtype] += item_bytes(dtype) * math.prod(int(n) for n in shape.split(",") if n)
    return Collective(kind, tuple(sizes), sizes.total())


def item_bytes(dtype: str) -> int:
    """Of HLO's names: f32, bf16, s8, pred."""
    bits = re.search(r"\d+", dtype)
    return max(int(bits[0]) // 8, 1) if bits else 1
