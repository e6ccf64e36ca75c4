"""Batches made ahead by tf.data: a dataset of step numbers, mapped by several threads, in order.

A step number says all that a batch is made of, so a dataset that begins at another number goes on
as if it had begun at 0. OpenCV lets go of Python's lock while it decodes and warps, which is where
the time is spent, so the threads of tf.data run side by side. Each makes one whole batch, in the
memory that tf.data then hands on (`zeros`): a dataset of single images would copy them into their
batch.
"""

from __future__ import annotations

import atexit
import math
import os
import weakref
from collections.abc import Callable, Generator, Mapping
from typing import TypeVar, cast

import cv2
import numpy as np

_ALIGNMENT = 64  # bytes; Eigen's

Arrays = TypeVar("Arrays", bound=Mapping[str, object])  # arrays


def stream(
    make: Callable[[int], Arrays], empty: Arrays, *, start_step: int, workers: int | None
) -> Generator[Arrays]:
    """The batches of steps, in order and without end.

    Closing the generator waits for the batches that are being made.

    Args:
        make: a step's batch; called by several threads at once.
        empty: arrays named and typed as those of a batch.
        start_step: the first of the steps.
        workers: threads; as many as this process may use cores if None.

    Raises:
        Exception: what `make` raised for a step, in that step's turn.
    """
    cv2.setNumThreads(1)  # the workers are as many as the cores already
    batches = _batches(make, empty, start_step, workers or usable_cores())
    _open_streams.add(batches)
    return batches


def _batches(
    make: Callable[[int], Arrays], empty: Arrays, start_step: int, workers: int
) -> Generator[Arrays]:
    import tensorflow as tf

    for kind in ("GPU", "TPU"):  # TensorFlow would take all of the accelerator's memory
        tf.config.set_visible_devices([], kind)
    errors: dict[int, Exception] = {}

    def arrays(step: np.int64) -> tuple[object, ...]:
        try:
            return tuple(make(int(step)).values())
        except Exception as error:
            errors[int(step)] = error  # TensorFlow would keep no more than its text
            return tuple(empty.values())

    options = tf.data.Options()
    options.autotune.enabled = False
    options.threading.private_threadpool_size = workers
    types = [cast(np.ndarray, array).dtype for array in empty.values()]
    dataset = (
        tf.data.Dataset.range(start_step, np.iinfo(np.int64).max)
        .map(
            lambda step: (step, *tf.numpy_function(arrays, [step], types)),
            num_parallel_calls=workers,
            deterministic=True,
        )
        .prefetch(1)
        .with_options(options)
    )
    for step, *made in dataset.as_numpy_iterator():
        if int(step) in errors:
            raise errors[int(step)]
        yield cast(Arrays, dict(zip(empty, made, strict=True)))


# A thread of TensorFlow that calls Python while the interpreter shuts down aborts the process:
# closing a stream waits for its threads.
_open_streams: weakref.WeakSet[Generator] = weakref.WeakSet()


@atexit.register
def _close_streams() -> None:
    for batches in list(_open_streams):
        batches.close()


def zeros(shape: tuple[int, ...], dtype: type) -> np.ndarray:
    """Zeros in memory that TensorFlow hands on as it is; what begins elsewhere it would copy."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    memory = np.zeros(size + _ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % _ALIGNMENT
    return memory[start : start + size].view(dtype).reshape(shape)


def usable_cores() -> int:
    """The cores of this process: a cluster's job often has fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
