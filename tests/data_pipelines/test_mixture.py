"""Mixtures of sets: the same for any number of processes and after a restart."""

import dataclasses
import itertools
from collections import Counter

import cv2
import jax
import numpy as np
import pytest

from data_pipelines.config import (
    DataConfig,
    MixtureConfig,
    PastingConfig,
    PersonDataConfig,
    PixelConfig,
)
from data_pipelines.input_pipeline import Batch, Images, Share, batches
from data_pipelines.mixture import Mixture
from data_pipelines.person_batches import CrowdCrops
from data_pipelines.sampling import Turns
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import crowds
from data_pipelines.synthetic_crowds.records import CrowdRecords
from pinet_jax.errors import UsageError
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.memory_records import MemoryRecords, make_record, make_records

CONFIG = DataConfig(input_size=64, max_people=4)
WEIGHTS = (1.0, 0.5, 0.5)


class Endless:
    """Records that are made when they are read, as rendered crowds are."""

    skeleton = COCO_17
    index = None

    def __getitem__(self, number):
        return make_record(10_000 + number, np.random.default_rng((9, number)))


def second(count: int) -> MemoryRecords:
    """Other records than `make_records` has: their image ids begin with 500."""
    rng = np.random.default_rng(1)
    return MemoryRecords([make_record(500 + number, rng) for number in range(count)])


def mixture() -> Mixture:
    sets = (
        Images(make_records(7), CONFIG, 3, partial=False),
        Images(second(5), CONFIG, 3 + 2**64, partial=True),
        Images(Endless(), CONFIG, 3 + 2**65, partial=False),
    )
    return Mixture(sets[0], sets[1:], WEIGHTS, seed=3)


def take(count, samples, **options) -> list[Batch]:
    return list(itertools.islice(batches(samples, workers=2, **options), count))


def assert_same(found, wanted):
    for batch, other in zip(found, wanted, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            np.testing.assert_array_equal(batch[name], other[name])


@pytest.fixture(scope="module")
def whole():
    return take(9, mixture(), batch_size=8)


def test_it_goes_on_after_a_restart(whole):
    assert_same(take(4, mixture(), batch_size=8, start_step=5), whole[5:])


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_images(whole, processes):
    parts = [
        take(9, mixture(), batch_size=8, share=Share(process, processes))
        for process in range(processes)
    ]
    together = [
        {name: np.concatenate([part[name] for part in step]) for name in step[0]}
        for step in zip(*parts, strict=True)
    ]
    assert_same(together, whole)


def test_a_sets_samples_are_those_that_it_would_have_alone(whole):
    alone = {
        0: take(9, Images(make_records(7), CONFIG, 3, partial=False), batch_size=8),
        1: take(9, Images(second(5), CONFIG, 3 + 2**64, partial=True), batch_size=8),
    }
    turns = Turns(WEIGHTS, seed=3)
    for number in range(72):
        source, own = turns[number]
        row = {name: array[number % 8] for name, array in whole[number // 8].items()}
        assert row["partial"] == (source == 1)
        if source == 2:
            assert row["image_id"] == 10_000 + own  # each is seen once
        else:
            wanted = {name: array[own % 8] for name, array in alone[source][own // 8].items()}
            for name in row:
                np.testing.assert_array_equal(row[name], wanted[name])


def test_weights_are_met_and_records_come_equally_often():
    class Counted(Images):
        """Only the image's id is of interest."""

        def _warp(self, batch, row, record, key):
            batch["image_id"][row] = record["image_id"]

    config = dataclasses.replace(CONFIG, input_size=4)
    sets = [
        Counted(make_records(7), config, 0),
        Counted(second(5), config, 1),
        Counted(Endless(), config, 2),
    ]
    mixed = Mixture(sets[0], sets[1:], WEIGHTS, seed=0)
    ids = np.concatenate([b["image_id"] for b in take(40, mixed, batch_size=50)])
    counts = Counter((ids // 100).clip(0, 100).tolist())
    assert counts == {1: 1000, 5: 500, 100: 500}
    assert sorted(Counter(ids[ids < 200].tolist()).values()) == [142, 143, 143, 143, 143, 143, 143]
    assert sorted(Counter(ids[(ids > 400) & (ids < 600)].tolist()).values()) == [100] * 5
    assert len(mixed) == 14  # as many as one epoch of the first set takes


@pytest.mark.parametrize(
    ("config", "fields", "message"),
    [
        (
            MixtureConfig,
            {"sets": ("a", "b"), "weights": (1.0,)},
            r"weights \(1.0,\): give 2, one for each set",
        ),
        (MixtureConfig, {"sets": ("a",), "weights": (0.0,)}, r"weights \(0.0,\): must be positive"),
        (MixtureConfig, {"crowds_weight": -1.0}, "crowds_weight -1.0: give 0 or more"),
        (PastingConfig, {"share": 1.5}, "share 1.5: give a share, 0 to 1"),
        (PastingConfig, {"people": (2, 1)}, "people 2 1: give the fewest, 1 or more, and the most"),
        (PixelConfig, {"hue": -0.1}, "hue -0.1: give a share, 0 to 1"),
        (PixelConfig, {"blur_sigma": (0.0, 1.0)}, "blur_sigma 0.0 1.0: give the least, above 0"),
    ],
)
def test_what_does_not_fit_together_is_refused(config, fields, message):
    with pytest.raises(UsageError, match=message):
        config(**fields)


@pytest.fixture(scope="module")
def rendered():
    return CrowdRecords(CrowdConfig(people=(1, 2), size=64), COCO_17, seed=0)


def test_a_rendered_crowd_as_a_record(rendered):
    config = CrowdConfig(people=(1, 2), size=64)
    made = jax.device_get(
        jax.jit(crowds, static_argnums=(2,))(jax.random.key(0), np.array([3], np.int32), config)
    )
    record, there = rendered[3], made.people[0]
    pixels = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(pixels, made.image[0])
    np.testing.assert_array_equal(record["keypoints"], made.keypoints[0][there])
    np.testing.assert_array_equal(record["boxes"], made.boxes[0][there])
    assert (record["height"], record["width"], record["image_id"]) == (64, 64, 3)


def test_crops_of_a_rendered_crowd(rendered):
    """Two samples a crowd: everybody of a pair, or one person twice; the same after a restart."""
    crops = CrowdCrops(rendered, 2, PersonDataConfig(), (32, 32), seed=0)
    whole = take(3, crops, batch_size=4)
    assert_same(take(1, crops, batch_size=4, start_step=2), whole[2:])
    ids = np.concatenate([batch["image_id"] for batch in whole]).reshape(-1, 2)
    areas = np.concatenate([batch["area"] for batch in whole])
    np.testing.assert_array_equal(ids, np.repeat(np.arange(6), 2).reshape(6, 2))
    assert (areas > 0).all()
    assert all((batch["image"].std(axis=(1, 2, 3)) > 0).all() for batch in whole)
