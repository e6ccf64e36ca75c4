"""A trace of some steps for TensorBoard's profiler."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax


class Trace:
    """The trace for TensorBoard's profiler, of the steps that the config names."""

    def __init__(self, folder: Path, steps: tuple[int, int] | None, say: Callable[[str], None]):
        self._folder, self._say = folder, say
        self._first, self._last = steps or (0, -1)
        self._running = False

    def before(self, step: int) -> None:
        """Begins at the first step, or at a later one if the training goes on from there."""
        if self._first <= step <= self._last and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """Ends at the last step, when the device is done with it."""
        if step == self._last and self._running:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Writes what there is, if that has not been done."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            self._say(f"{self._folder}: the trace is written, for TensorBoard's profiler")
