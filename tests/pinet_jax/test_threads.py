"""Work ahead of its use: in order, no further than asked, and with its errors in their turn."""

import itertools
import threading
import time

import pytest

from pinet_jax.threads import work_ahead


def test_results_come_in_the_items_order_whoever_is_first():
    def work(item):
        time.sleep(0.02 * (item % 3))
        return 2 * item

    assert list(work_ahead(work, range(9), threads=3, ahead=4)) == [(i, 2 * i) for i in range(9)]
    assert list(work_ahead(work, [], threads=1, ahead=1)) == []


def test_no_more_is_begun_than_asked_for():
    begun = []
    stream = work_ahead(begun.append, itertools.count(), threads=1, ahead=2)
    for taken in range(1, 4):
        next(stream)
        assert len(begun) <= taken + 2
    stream.close()


def test_threads_work_side_by_side_while_a_result_is_used():
    together = threading.Barrier(2, timeout=30)
    stream = work_ahead(lambda _: together.wait(), range(4), threads=2, ahead=3)
    assert len(list(stream)) == 4


def test_an_error_is_raised_in_its_items_turn():
    def work(item):
        if item == 2:
            raise KeyError(item)
        return item

    stream = work_ahead(work, itertools.count(), threads=2, ahead=4)
    assert [next(stream)[1], next(stream)[1]] == [0, 1]
    with pytest.raises(KeyError):
        next(stream)
