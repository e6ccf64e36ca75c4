"""Frames of many images through a program of one batch size, whatever image they are from."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import numpy as np

Key = TypeVar("Key")


def run_packed(
    frames: Iterable[tuple[Key, Sequence[np.ndarray]]],
    run: Callable[[np.ndarray], Any],
    batch_size: int,
) -> Iterator[tuple[Key, Any]]:
    """Runs full batches, and gives every image its own results.

    Only the last batch is padded, with black frames. While the device works on a batch, the frames
    of the next one are taken.

    Args:
        frames: for every image what it is called, and its frames, uint8 [H, W, 3] of one shape;
            there may be none.
        run: a program on frames [batch_size, H, W, 3]; a pytree of arrays [batch_size, ...].
        batch_size: of every call.

    Returns:
        For every image, in order, what it is called and its frames' results: the pytree with
        NumPy arrays [N, ...]; of an image without frames None.
    """
    owners: collections.deque[tuple[Key, int]] = collections.deque()  # and how many frames
    packed: list[np.ndarray] = []
    done: list[Any] = []  # results by frame, of the first owners
    running: list[Any] = []  # at most one batch's, still on the device

    def start(batch: Sequence[np.ndarray]) -> None:
        stack = np.zeros((batch_size, *batch[0].shape), batch[0].dtype)
        stack[: len(batch)] = batch
        started = run(stack)
        finish()  # the batch before, while the device is busy with this one
        running.append((started, len(batch)))

    def finish() -> None:
        for results, count in running:
            arrays = jax.device_get(results)
            done.extend(jax.tree.map(lambda x, i=i: x[i], arrays) for i in range(count))
        running.clear()

    def complete() -> Iterator[tuple[Key, Any]]:
        while owners and owners[0][1] <= len(done):
            key, count = owners.popleft()
            own, done[:count] = done[:count], []
            yield key, jax.tree.map(lambda *x: np.stack(x), *own) if own else None

    for key, images in frames:
        owners.append((key, len(images)))
        packed += images
        while len(packed) >= batch_size:
            batch, packed = packed[:batch_size], packed[batch_size:]
            start(batch)
        yield from complete()
    if packed:
        start(packed)
    finish()
    yield from complete()
