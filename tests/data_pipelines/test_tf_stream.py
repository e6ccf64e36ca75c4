"""Batches made ahead by tf.data: their order, their errors and their end."""

import contextlib
import itertools
import threading
import time

import numpy as np
import pytest

from data_pipelines.tf_stream import stream

EMPTY: dict[str, np.ndarray] = {
    "step": np.zeros((0,), np.int64),
    "image": np.zeros((0, 2, 3), np.uint8),
}


def made(step: int) -> dict[str, np.ndarray]:
    time.sleep(0.02 * (step % 3))  # later steps are done before earlier ones
    return {"step": np.full(1, step), "image": np.full((1, 2, 3), step % 256, np.uint8)}


def test_batches_come_in_order_from_the_first_step_on():
    with contextlib.closing(stream(made, EMPTY, start_step=2**40, workers=4)) as batches:
        for step, batch in enumerate(itertools.islice(batches, 8), 2**40):
            assert list(batch) == ["step", "image"]
            np.testing.assert_array_equal(batch["step"], made(step)["step"])
            np.testing.assert_array_equal(batch["image"], made(step)["image"])
            assert [array.dtype for array in batch.values()] == [np.int64, np.uint8]


def test_errors_come_in_their_steps_turn_as_they_were_raised():
    def make(step):
        if step in (4, 5):
            raise KeyError(f"step {step}")
        return made(step)

    batches = stream(make, EMPTY, start_step=0, workers=4)
    assert [int(batch["step"][0]) for batch in itertools.islice(batches, 4)] == [0, 1, 2, 3]
    with pytest.raises(KeyError, match="step 4"):
        next(batches)


def test_only_a_few_batches_are_made_ahead_and_closing_ends_the_work():
    begun = []

    def make(step):
        begun.append(step)
        return made(step)

    batches = stream(make, EMPTY, start_step=0, workers=2)
    next(batches)
    time.sleep(0.5)
    assert len(begun) <= 1 + 2 + 1 + 2  # taken, made at once, prefetched, tf.data's own buffer
    batches.close()
    count = len(begun)
    time.sleep(0.2)
    assert len(begun) == count


def test_several_steps_are_in_work_at_once():
    together = threading.Barrier(2, timeout=30)

    def make(step):
        together.wait()
        return made(step)

    with contextlib.closing(stream(make, EMPTY, start_step=0, workers=2)) as batches:
        assert int(next(batches)["step"][0]) == 0
        together.abort()
