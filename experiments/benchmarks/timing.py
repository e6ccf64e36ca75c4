"""Times of several calls, taken in turns so that a busy moment of the machine hits them all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax


class Seconds(NamedTuple):
    """Of one call."""

    median: float
    best: float


def time_in_turns(calls: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, Seconds]:
    """Runs every call once to warm up, then `rounds` times in turns.

    Args:
        calls: by name; what they return is waited for if it is JAX's.
        rounds: how often each is timed.
    """
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    return {name: Seconds(statistics.median(s), min(s)) for name, s in seconds.items()}
