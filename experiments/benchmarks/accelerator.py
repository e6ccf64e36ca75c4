"""`python -m experiments.benchmarks.accelerator`: everything about one GPU, in a few minutes.

Prints one Markdown table, a row as soon as it is known: golden figures in float32, the train step
beside PyTorch's, prediction, and the stages that are no network. The train step compiles first and
alone, the others side by side afterwards; what is not ready when the time is nearly over is left
out. Nothing is timed while anything of ours compiles.

Needs JAX and flax with what the networks import; timm and torch for the yardstick; no TensorFlow,
no tyro, no network, no data but tests/golden.

Where it was run: on a CPU with `--small`, JAX 0.10 and 0.11, with TensorFlow, tyro and platformdirs
blocked, and `--torch none`; PyTorch's step by itself. On an H100 (JAX 0.11.2) within 362 s: the
rows in docs/bytes.md. PyTorch's compiled step was not ready in time there.
"""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import jax

from experiments.benchmarks.accelerator_programs import (
    SMALL,
    Costs,
    Row,
    Scale,
    Work,
    works_in_order,
)
from experiments.benchmarks.torch_training import TorchTraining

_WANTED = 1.5  # times as many images a second as PyTorch, compiled
# Dense bfloat16 FLOP/s and bytes/s of NVIDIA's data sheets (SXM).
_PEAKS = {"H100": (989e12, 3.35e12), "H200": (989e12, 4.8e12), "A100": (312e12, 2.04e12)}


def main() -> None:
    """Prints the table."""
    options = _options()
    # PyTorch's process needs its share of the memory.
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    scale = SMALL if options.small else Scale()
    torch = None
    if options.torch != "none":
        compiled = options.torch == "compiled"
        torch = TorchTraining(scale.timm, scale.train[0], scale.image, scale.repeats, compiled)
    device = jax.devices()[0]
    print(f"{device.device_kind}, JAX {jax.__version__}, {scale.image} x {scale.image} pixels\n")
    print("| what | ms | images/s | of peak arithmetic | of peak bandwidth | note |")
    print("|---|---|---|---|---|---|", flush=True)
    rates = Run(Clock(options.seconds), torch, scale).rates()
    ours = max((rate for name, rate in rates.items() if name.startswith("train")), default=0.0)
    for name, theirs in rates.items():
        if name.startswith("PyTorch"):
            show(Row(f"best train step / {name}", note=f"{ours / theirs:.2f} times the images/s"))
    print(f"\nWanted: {_WANTED} times the images/s of PyTorch, compiled.", flush=True)
    os._exit(0)  # what still compiles cannot be stopped otherwise


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measures one accelerator.")
    parser.add_argument("--seconds", type=float, default=400, help="time there is, about")
    parser.add_argument("--small", action="store_true", help="tiny networks, to try it on a CPU")
    parser.add_argument(
        "--torch",
        choices=("none", "eager", "compiled"),
        default="compiled",
        help="PyTorch's train step: not at all, as it is, or compiled too",
    )
    return parser.parse_args()


class Clock:
    """What is left of the time."""

    def __init__(self, seconds: float) -> None:
        """Starts it."""
        self._seconds, self._start = seconds, time.perf_counter()

    def left(self, kept: float = 0.0) -> float:
        """Seconds until only a share `kept` of the time is left; not negative."""
        used = time.perf_counter() - self._start
        return max(self._seconds * (1 - kept) - used, 0)


class Run:
    """Compiles all and shows the rows."""

    def __init__(self, clock: Clock, torch: TorchTraining | None, scale: Scale) -> None:
        """Takes the time that there is."""
        self._clock, self._torch, self._scale = clock, torch, scale
        self._rates: dict[str, float] = {}

    def rates(self) -> dict[str, float]:
        """Images a second of the rows that have them."""
        first, *others = works_in_order(self._scale)
        pool = ThreadPoolExecutor(4)
        lowered = first.lower()
        if self._torch is not None:
            self._show_torch("eager", self._torch.receive(self._clock.left(0.6)))
        program = pool.submit(_compiled, lowered)
        # Traced meanwhile, compiled afterwards: the train step alone takes minutes on a GPU.
        traced = [(work, work.lower()) for work in others]
        wait([program], self._clock.left(0.25))
        self._finish_torch()
        self._measure(first, program)
        programs = {work.name: pool.submit(_compiled, lowered) for work, lowered in traced}
        for work in others:
            if not work.timed:
                self._measure(work, programs[work.name])
        wait(programs.values(), self._clock.left(0.1))
        for work in others:
            if work.timed:
                self._measure(work, programs[work.name])
        return self._rates

    def _measure(self, work: Work, program: Future[Any]) -> None:
        """Shows a program's rows; a row that fails leaves the others alone."""
        if self._clock.left() == 0 or not (program.done() or not work.timed):
            self._show(Row(work.name, note="left out, no time"))
            return
        try:
            self._show(work.measure(*program.result(self._clock.left(0.1))))
        except TimeoutError:
            self._show(Row(work.name, note="left out, no time"))
        except Exception as error:  # the machine is there once: all other rows are still wanted
            self._show(Row(work.name, note=f"failed: {type(error).__name__} {str(error)[:300]!r}"))

    def _finish_torch(self) -> None:
        if self._torch is None:
            return
        # It has as long as our own step had, and a little more.
        ready = self._torch.receive(min(60, self._clock.left(0.3)))
        message, note = {}, ""
        if "compiling" in ready:
            self._torch.go_on()
            message = self._torch.receive(self._clock.left(0.2))
            note = f"compiled in {ready['compiling']:.0f} s"
        self._show_torch("compiled", message, note)
        self._torch.end()

    def _show_torch(self, kind: str, message: dict[str, float], note: str = "") -> None:
        name, batch = f"PyTorch's train step, {kind}", self._scale.train[0]
        if kind in message:
            self._show(Row(f"{name}, batch {batch}", message[kind], batch, note=note))
        else:
            self._show(Row(name, note="failed, or not ready in time"))

    def _show(self, row: Row) -> None:
        show(row)
        if row.seconds is not None:
            self._rates[row.what] = row.images / row.seconds


def _compiled(lowered: Any) -> tuple[Any, Costs]:
    """A program, and what a call costs."""
    # Operations before compilation: afterwards, convolutions are calls that XLA cannot look into.
    operations = (lowered.cost_analysis() or {}).get("flops")
    start = time.perf_counter()
    program = lowered.compile()
    note = f"compiled in {time.perf_counter() - start:.0f} s"
    moved = (program.cost_analysis() or {}).get("bytes accessed")
    return program, Costs(operations, moved, note)


def show(row: Row) -> None:
    """Prints a row at once."""
    peaks = next((p for name, p in _PEAKS.items() if name in jax.devices()[0].device_kind), None)
    shares = ["", ""]
    if row.seconds is not None and peaks is not None:
        amounts = zip((row.flops, row.bytes), peaks, strict=True)
        shares = [f"{a / row.seconds / p:.1%}" if a else "" for a, p in amounts]
    times = ["", ""]
    if row.seconds is not None:
        times = [f"{1e3 * row.seconds:.2f}", f"{row.images / row.seconds:.1f}"]
    print("|", " | ".join([row.what, *times, *shares, row.note]), "|", flush=True)


if __name__ == "__main__":
    main()
