"""Frames of many images through a program of one batch size, whatever image they are from."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax

Key = TypeVar("Key")
Frame = TypeVar("Frame")


def run_packed(
    images: Iterable[tuple[Key, Sequence[Frame]]],
    run: Callable[[Sequence[Frame]], Any],
    batch_size: int,
) -> Iterator[tuple[Key, list[Any]]]:
    """Runs full batches of frames, and gives every image its own results.

    While the device works on a batch, the frames of the next one are taken.

    Args:
        images: for each what it is called, and its frames; there may be none.
        run: from `batch_size` frames, and fewer in the last call, to a pytree of device arrays with
            a row a frame; further rows are padding.
        batch_size: frames a call.

    Returns:
        For every image, in order, what it is called and the results of its frames, NumPy arrays.
    """
    owners: collections.deque[tuple[Key, int]] = collections.deque()  # and how many frames
    packed: list[Frame] = []
    done: list[Any] = []  # results by frame, from the first owner's on
    running: list[tuple[Any, int]] = []  # at most one batch, still on the device

    def finish() -> None:
        for results, count in running:
            arrays = jax.device_get(results)
            done.extend(jax.tree.map(lambda x, i=i: x[i], arrays) for i in range(count))
        running.clear()

    def start(batch: Sequence[Frame]) -> None:
        started = run(batch)
        finish()  # the batch before, while the device is busy with this one
        running.append((started, len(batch)))

    def complete() -> Iterator[tuple[Key, list[Any]]]:
        while owners and owners[0][1] <= len(done):
            key, count = owners.popleft()
            own, done[:count] = done[:count], []
            yield key, own

    for key, frames in images:
        owners.append((key, len(frames)))
        packed += frames
        while len(packed) >= batch_size:
            batch, packed = packed[:batch_size], packed[batch_size:]
            start(batch)
        yield from complete()
    if packed:
        start(packed)
    finish()
    yield from complete()
