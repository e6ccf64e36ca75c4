"""Work that threads do ahead of its use.

Decoding, resizing, JPEG writing and compiled programs let go of the interpreter's lock, so that
threads run side by side, and beside the device.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def work_ahead(
    work: Callable[[Item], Result], items: Iterable[Item], *, threads: int, ahead: int
) -> Generator[tuple[Item, Result]]:
    """Items and their results, in the items' order.

    Closing the generator waits for the work that has begun and drops the rest.

    Args:
        work: what to do with an item; called by several threads at once.
        items: read only as far as needed; there may be no end of them.
        threads: how many work.
        ahead: most items that are in work, or done and not yet taken.

    Raises:
        Exception: what `work` raised for an item, in that item's turn.
    """
    waiting: collections.deque[tuple[Item, Future[Result]]] = collections.deque()
    left = iter(items)
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            for item in itertools.islice(left, ahead + 1 - len(waiting)):
                waiting.append((item, pool.submit(work, item)))
            if not waiting:
                return
            item, future = waiting.popleft()
            yield item, future.result()
    finally:
        pool.shutdown(cancel_futures=True)
