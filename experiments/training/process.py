"""The process of a training: what it does first, when it is asked to stop, and its peers."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.runtime import keep_freed_memory, use_user_cache
from pinet_jax.training import split_by_image


def prepare_process() -> None:
    """What a process that trains does first."""
    use_user_cache()
    keep_freed_memory()
    _hush_checkpoints()


def _hush_checkpoints() -> None:
    """Keeps orbax's own messages off the bar.

    Whatever it cannot write comes as an exception, too, and becomes one line. Before that, each
    array that was still to be written would print that nobody waits for it any more.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    print_other = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            print_other(unraisable)

    sys.unraisablehook = hook


class Interruption(threading.Event):
    """A signal that asks to stop.

    Attributes:
        number: the signal's.
    """

    number = int(signal.SIGTERM)


@contextlib.contextmanager
def interruption() -> Iterator[Interruption]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C ends the process."""
    event = Interruption()
    # In a job of several processes JAX listens to SIGTERM, so that all stop at the same step.
    alone = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    if not alone:
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: Any) -> None:
        del frame
        event.number = number
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def connect(mesh: jax.sharding.Mesh) -> None:
    """Lets all devices exchange something while no process is busy.

    CPUs connect at their first exchange, and give up on a process that compiles, or renders the
    test set, for more than half a minute; once connected they wait.
    """
    ones = np.ones(len(mesh.local_devices), np.float32)
    shared = jax.make_array_from_process_local_data(split_by_image(mesh), ones)
    jax.block_until_ready(jax.jit(jnp.sum)(shared))


@contextlib.contextmanager
def ends_with_its_peers(checkpoints: Path) -> Iterator[None]:
    """Ends this process in one line where another process of the job was killed.

    At once, with status 1: closing anything would wait for the one that is gone. What was saved
    before stays; a save that was going on is left out by the next start.

    Args:
        checkpoints: the training's folder of them, for the line.
    """
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if jax.process_count() == 1 or "RESOURCE_EXHAUSTED" in str(error):
            raise
        reason = str(error).splitlines()[0]
        print(
            f"pinet-jax train: process {jax.process_index()} cannot go on with the others "
            f"({reason}); {checkpoints} has what was saved; the same command goes on from it",
            file=sys.stderr,
            flush=True,
        )
        os._exit(1)
