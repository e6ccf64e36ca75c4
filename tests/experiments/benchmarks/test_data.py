"""The host's benchmark counts what it says; its speed is for `pinet-jax benchmark` to tell."""

import os

import pytest

from data_pipelines.config import DataConfig
from experiments.benchmarks.data import measure_data
from tests.data_pipelines.memory_records import make_records


def test_measures_both_and_counts_bytes():
    config = DataConfig(input_size=64, max_people=4)
    before = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    found = measure_data(make_records(5), config, batch_size=3, batches=2, rounds=2)
    assert found.images_per_second > 0 and found.opencv_images_per_second > 0
    image, mask, keypoints, area = 64 * 64 * 3, 16 * 16, 4 * 17 * 3 * 4, 4 * 4
    mirrored, reach, corners = 1, 4 * 4, 4 * 4 * 2 * 4
    labels = keypoints + area + mirrored + reach + corners
    assert found.bytes_per_image == image + mask + labels
    if before is not None:
        assert os.sched_getaffinity(0) == before


def test_a_batch_at_the_papers_size_is_small():
    """The reference sends about 19 MB of floats an image."""
    found = measure_data(make_records(1), DataConfig(), batch_size=1, batches=1, rounds=1)
    assert found.bytes_per_image == pytest.approx(0.81e6, rel=0.01)
