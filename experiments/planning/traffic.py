"""Which layers a compiled program moves bytes for, read from its text.

Every instruction counts its operands and results, whole: a fusion that reads a part of an operand
moves less. The body of a loop counts once, as in XLA's own sum. `ConcatBitcast`, which is in that
sum, moves nothing and counts nothing.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from experiments.planning.collectives import item_bytes

_ARRAY = re.compile(r"\b([a-z]+\d*)\[([\d,]*)\](?:\{([\d,]*)([^}]*)\})?")
_COMPUTATION = re.compile(r"^(?:(ENTRY) )?%(\S+) \(.*\{\n((?:.*\n)*?)\}", re.MULTILINE)
_BODY = re.compile(r"\bbody=%([\w.\-]+)")  # of a loop
_INSTRUCTION = re.compile(r"^\s+(?:ROOT )?%(\S+) = (\(.*?\)|\S+) ([a-z][\w-]*)\((.*)$")
_TILES = re.compile(r"T\(([\d,]+)\)")
# Between the chip's slow and its fast memory.
_MOVES = ("copy-start", "slice-start")
_FREE = {
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"),
    *("copy-done", "slice-done", "all-reduce-done", "while"),
}
# Of an instruction's name, in this order; a group in a pattern goes into the layers' name.
_LAYERS = (
    (r"branches\.(\d)", "branch {}"),
    (r"fuse_layers|\._fuse", "exchange of branches"),
    (r"transition\d", "transitions"),
    (r"layer1\.", "layer1"),
    (r"_stem/", "stem"),
    (r"/backbone/", "joining of branches"),
    (r"/ppg/", "heads"),
    (r"/pr/", "refinement"),
    (r"jvp\(", "targets and losses"),
)
_REST = "rest"


class Traffic(NamedTuple):
    """Bytes.

    Attributes:
        needed: of the arrays' entries.
        padded: as they lie in memory, with what fills tiles up.
        slow: of `padded`, what goes to or from the slow memory.
        moved: of `padded`, what only goes from one memory to the other.
    """

    needed: int = 0
    padded: int = 0
    slow: int = 0
    moved: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """Both together."""
        return Traffic(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, count: int) -> Traffic:
        """So often."""
        return Traffic(*(count * a for a in self))


class _Instruction(NamedTuple):
    name: str
    kind: str
    result: list[Traffic]
    operands: list[str]
    layer: str  # or nothing


def traffic_by_layer(program: str) -> dict[str, Traffic]:
    """What is moved for every layer, the largest first; "rest" is what no layer is named for,
    such as the optimizer.

    Args:
        program: the text of a compiled program, in HLO.
    """
    instructions = {x.name: x for x in _instructions(program)}
    users = defaultdict(list)
    for x in instructions.values():
        for name in x.operands:
            users[name].append(x.name)
    totals: dict[str, Traffic] = defaultdict(Traffic)
    for x in instructions.values():
        if x.kind not in _FREE:
            layer = x.layer or _layer_nearby(x, instructions, users) or _REST
            totals[layer] = totals[layer].plus(_traffic(x, instructions))
    return dict(sorted(totals.items(), key=lambda pair: -pair[1].padded))


def _instructions(program: str) -> Iterator[_Instruction]:
    for line in _lines(program):
        match = _INSTRUCTION.match(line)
        if match:
            name, result, kind, rest = match.groups()
            kind = "bitcast" if "ConcatBitcast" in rest else kind
            operands = re.findall(r"%([^\s,()]+)", rest.partition("), ")[0])
            label = re.search(r'op_name="([^"]*)"', rest)
            arrays = [_array(*found) for found in _ARRAY.findall(result)]
            yield _Instruction(name, kind, arrays, operands, _layer(label[1] if label else ""))


def _lines(program: str) -> Iterator[str]:
    """Of the entry computation, and of the loops' bodies in it; of what is fused, none."""
    texts, entry = {}, ""
    for is_entry, name, text in _COMPUTATION.findall(program):
        texts[name] = text
        entry = name if is_entry else entry
    waiting = [entry]
    while waiting:
        text = texts[waiting.pop()]
        waiting += _BODY.findall(text)
        yield from text.splitlines()


def _array(dtype: str, shape: str, order: str, layout: str) -> Traffic:
    """One array, passed once."""
    sizes = [int(n) for n in shape.split(",") if n]
    needed = item_bytes(dtype) * math.prod(sizes)
    tiles = _TILES.search(layout)
    if tiles and sizes:
        tile = [int(n) for n in tiles[1].split(",")]
        sizes = [sizes[int(axis)] for axis in reversed(order.split(","))]  # the smallest step last
        sizes = [1] * (len(tile) - len(sizes)) + sizes
        for axis, side in enumerate(tile, start=-len(tile)):
            sizes[axis] = -(-sizes[axis] // side) * side
    padded = item_bytes(dtype) * math.prod(sizes)
    return Traffic(needed, padded, 0 if "S(1)" in layout else padded)


def _traffic(x: _Instruction, instructions: Mapping[str, _Instruction]) -> Traffic:
    if x.kind in _MOVES:  # the result holds both ends; a slice's is its last large array
        part = x.result[1 if x.kind == "slice-start" else 0]
        return Traffic(2 * part.needed, 2 * part.padded, part.padded, 2 * part.padded)
    operands = [a for name in x.operands if name in instructions for a in instructions[name].result]
    total = Traffic()
    for array in [*x.result, *operands]:
        total = total.plus(array)
    return total


def _layer(label: str) -> str:
    for pattern, name in _LAYERS:
        match = re.search(pattern, label)
        if match:
            way = "backward" if "transpose(" in label else "forward"
            return f"{name.format(*match.groups())}, {way}"
    return _REST if label.startswith("jit(") else ""


def _layer_nearby(
    x: _Instruction, instructions: Mapping[str, _Instruction], users: Mapping[str, list[str]]
) -> str:
    """Of what reads its result, or else of what makes its operands, the next that has one."""
    for following in (lambda y: users.get(y.name, []), lambda y: y.operands):
        queue, seen = [x], {x.name}
        while queue and len(seen) < 60:
            for name in following(queue.pop(0)):
                if name in instructions and name not in seen:
                    if instructions[name].layer:
                        return instructions[name].layer
                    seen.add(name)
                    queue.append(instructions[name])
    return ""
