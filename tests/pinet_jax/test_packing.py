"""Frames through full batches: every image gets its own results, in order."""

import itertools

import hypothesis
import hypothesis.strategies as st
import numpy as np

from pinet_jax.packing import run_packed


@hypothesis.given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 5))
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_image_gets_its_own_results_from_full_batches(counts, batch_size):
    numbers = itertools.count(1)
    images = [
        (f"image {i}", list(itertools.islice(numbers, count))) for i, count in enumerate(counts)
    ]
    sizes = []

    def run(frames):
        sizes.append(len(frames))
        padded = np.zeros(batch_size, int)
        padded[: len(frames)] = frames
        return {"same": padded, "squares": padded[:, None] ** 2}

    results = list(run_packed(iter(images), run, batch_size))
    assert [key for key, _ in results] == [key for key, _ in images]
    for (_, frames), (_, found) in zip(images, results, strict=True):
        assert [result["same"] for result in found] == frames
        assert [result["squares"].tolist() for result in found] == [[x**2] for x in frames]
    assert all(size == batch_size for size in sizes[:-1])
    assert sum(sizes) == sum(counts)


def test_results_come_as_soon_as_the_next_batch_has_begun():
    begun = []

    def images():
        for i in itertools.count():
            begun.append(i)
            yield i, [i, i]

    results = run_packed(images(), np.array, 4)
    assert next(results)[0] == 0 and len(begun) == 4
