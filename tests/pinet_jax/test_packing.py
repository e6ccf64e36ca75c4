"""Frames through full batches: every image gets its own results, in order."""

import hypothesis
import hypothesis.strategies as st
import numpy as np

from pinet_jax.packing import run_packed


@hypothesis.given(st.lists(st.integers(0, 7), max_size=12), st.integers(1, 5))
@hypothesis.settings(max_examples=60, deadline=None)
def test_every_image_gets_its_own_results_from_full_batches(counts, batch_size):
    values = iter(range(1, 200))
    images = [
        (f"image {i}", [np.full((2, 3, 3), next(values), np.uint8) for _ in range(count)])
        for i, count in enumerate(counts)
    ]
    seen = []

    def run(frames):
        assert frames.shape == (batch_size, 2, 3, 3)
        seen.append(int((frames[:, 0, 0, 0] > 0).sum()))
        return {"first": frames[:, 0, 0, 0], "all": frames}

    results = list(run_packed(iter(images), run, batch_size))
    assert [key for key, _ in results] == [key for key, _ in images]
    for (_, frames), (_, found) in zip(images, results, strict=True):
        if not frames:
            assert found is None
            continue
        np.testing.assert_array_equal(found["all"], frames)
        assert found["first"].shape == (len(frames),)
    assert all(count == batch_size for count in seen[:-1])
    assert sum(seen) == sum(counts)
