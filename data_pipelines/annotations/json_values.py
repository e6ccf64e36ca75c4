"""Values of JSON files: which of them are numbers, and how a message shows them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_INT64 = range(-(2**63), 2**63)


class Problem(NamedTuple):
    """What is wrong with one record."""

    kind: str  # one of a few fixed wordings, by which faults are counted
    detail: str = ""  # the offending value


def load_json(file: Path) -> tuple[Any, Problem | None]:
    """A file's content, or the problem that there is none."""
    try:
        return json.loads(file.read_bytes()), None
    except OSError as error:
        return None, Problem("not readable", error.strerror or str(error))
    except (ValueError, RecursionError) as error:
        return None, Problem("broken JSON", str(error))


def whole(value: Any) -> int | None:
    """A JSON number as an int64; None where it is none."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value in _INT64 else None


def numbers(value: Any) -> np.ndarray | None:
    """A JSON list of numbers, float64; those beyond float32 are infinite. None: it is none."""
    if not isinstance(value, list) or not all(type(v) in (int, float) for v in value):
        return None
    try:
        array = np.array(value, np.float64)
    except OverflowError:  # whole numbers of 309 digits and more
        array = np.array([v if abs(v) < 2**128 else math.inf for v in value], np.float64)
    return np.where(abs(array) > np.finfo(np.float32).max, np.inf, array)


def shown(value: Any) -> str:
    """A value in a message, on one line and not too long."""
    text = "missing or null" if value is None else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
