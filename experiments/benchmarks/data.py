"""How fast a core of the host makes batches, beside the least that OpenCV needs for them.

Both run in turns on the same core, over the same records and the same samples of the augmentation.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import time
from collections.abc import Iterator

import cv2
import numpy as np

from data_pipelines.augmentation import affine_matrix, random_numbers, sample_augmentation
from data_pipelines.config import DataConfig
from data_pipelines.input_pipeline import Records, training_batches, training_records
from data_pipelines.sampling import sample_order

_SEED = 0


@dataclasses.dataclass(frozen=True)
class DataThroughput:
    """What `measure_data` found, on one core."""

    images_per_second: float  # of the whole pipeline: read, decode, warp, mask, keypoints, batch
    opencv_images_per_second: float  # of decoding and one warp alone, files in memory: the limit
    bytes_per_image: float  # that cross to the device


def measure_data(
    records: Records,
    config: DataConfig,
    *,
    batch_size: int = 40,
    batches: int = 16,
    rounds: int = 5,
) -> DataThroughput:
    """Times training batches and a plain OpenCV loop, in turns.

    Args:
        records: an opened split, of any size: it is gone through as often as needed.
        config: the batch's sizes and the augmentation.
        batch_size: images a batch.
        batches: timed in each round; with few, what was made ahead of the first counts too much.
        rounds: of which the median is taken.
    """
    images = batches * batch_size
    threads = cv2.getNumThreads()
    with _one_core():
        cv2.setNumThreads(1)
        work = _plain_work(records, config, images)
        plain, pipeline = [], []
        for _ in range(rounds):
            plain.append(_time_plain(work, config.input_size))
            seconds, batch_bytes = _time_pipeline(records, config, batch_size, batches)
            pipeline.append(seconds)
    cv2.setNumThreads(threads)
    return DataThroughput(
        images_per_second=images / statistics.median(pipeline),
        opencv_images_per_second=images / statistics.median(plain),
        bytes_per_image=batch_bytes / batch_size,
    )


def _plain_work(
    records: Records, config: DataConfig, images: int
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Image files in memory and the matrices they are warped by: the pipeline's first samples."""
    assert records.index is not None
    chosen = training_records(records.index, config)
    work = []
    for epoch, place in zip(*sample_order(len(chosen), images, _SEED, 0), strict=True):
        index = int(chosen[place])
        record = records[index]
        size = record["height"], record["width"]
        numbers = random_numbers(_SEED, int(epoch), index)
        augmentation = sample_augmentation(config.augmentation, *size, numbers)
        matrix = affine_matrix(augmentation, *size, config.input_size)
        work.append((np.frombuffer(record["image"], np.uint8), matrix))
    return work


def _time_plain(work: list[tuple[np.ndarray, np.ndarray]], size: int) -> float:
    start = time.perf_counter()
    for file, matrix in work:
        image = cv2.imdecode(file, cv2.IMREAD_COLOR)
        assert image is not None
        cv2.warpAffine(image, matrix, (size, size))
    return time.perf_counter() - start


def _time_pipeline(
    records: Records, config: DataConfig, batch_size: int, batches: int
) -> tuple[float, int]:
    """Seconds for so many batches, and the bytes that each sends to the device."""
    stream = training_batches(records, config, batch_size=batch_size, seed=_SEED, workers=1)
    with contextlib.closing(stream):
        next(stream)  # not timed: threads and graph are made
        start = time.perf_counter()
        for _ in range(batches):
            batch = next(stream)
        seconds = time.perf_counter() - start
    sent = {name: value for name, value in batch.items() if name != "image_id"}
    return seconds, sum(np.asarray(array).nbytes for array in sent.values())


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Holds this thread, and those it starts, on one core, where the system can do so."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
