"""Batches: the same after a restart and for any number of processes, and what they hold."""

import dataclasses
import itertools
import subprocess
import sys

import cv2
import hypothesis
import hypothesis.strategies as st
import jax
import numpy as np
import pytest

from data_pipelines import augmentation
from data_pipelines.config import AugmentationConfig, DataConfig
from data_pipelines.input_pipeline import (
    Batch,
    Share,
    prefetch_to_device,
    training_batches,
)
from data_pipelines.records import open_split
from data_pipelines.sampling import sample_order
from experiments.commands.prepare import main as prepare
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17
from tests.conftest import ROOT, shared_data
from tests.data_pipelines.memory_records import MemoryRecords, make_record, make_records

CONFIG = DataConfig(input_size=64, max_people=4)


def _take(count, *args, **kwargs) -> list[Batch]:
    return list(itertools.islice(training_batches(*args, workers=2, **kwargs), count))


def _assert_same(batches, others):
    assert len(batches) == len(others)
    for batch, other in zip(batches, others, strict=True):
        assert batch.keys() == other.keys()
        for name in batch:
            assert batch[name].dtype == other[name].dtype
            assert batch[name].tobytes() == other[name].tobytes(), name


def test_restart_in_the_middle_of_an_epoch():
    """11 records in batches of 4: step 4 is inside the second epoch."""
    records = make_records(11)
    whole = _take(8, records, CONFIG, batch_size=4, seed=3)
    rest = _take(4, records, CONFIG, batch_size=4, seed=3, start_step=4)
    _assert_same(rest, whole[4:])


def test_one_process_or_four():
    records = make_records(11)
    whole = _take(5, records, CONFIG, batch_size=8, seed=3, start_step=1)
    shards = [
        _take(5, records, CONFIG, batch_size=8, seed=3, start_step=1, share=Share(process, 4))
        for process in range(4)
    ]
    together = [
        {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for parts in zip(*shards, strict=True)
    ]
    _assert_same(together, whole)


def test_real_records_restarted_and_shared(tmp_path):
    """The whole way from COCO's download: 28 images in batches of 8, begun at step 5, by four."""
    prepare("coco", data_dir=shared_data("coco"), out=tmp_path, splits=("train",))
    config = DataConfig(input_size=128)
    whole = _take(9, open_split("coco_keypoints", "train", tmp_path), config, batch_size=8, seed=1)
    for process in range(4):
        part = _take(
            4,
            open_split("coco_keypoints", "train", tmp_path),
            config,
            batch_size=8,
            seed=1,
            start_step=5,
            share=Share(process, 4),
        )
        rows = slice(2 * process, 2 * process + 2)
        _assert_same(part, [{name: batch[name][rows] for name in batch} for batch in whole[5:]])
    assert len({image_id for batch in whole for image_id in batch["image_id"].tolist()}) == 28


def test_number_of_workers_changes_nothing():
    records = make_records(9)
    one = itertools.islice(training_batches(records, CONFIG, batch_size=4, seed=0, workers=1), 6)
    many = itertools.islice(training_batches(records, CONFIG, batch_size=4, seed=0, workers=5), 6)
    _assert_same(list(one), list(many))


def test_every_epoch_has_every_record_once_in_a_new_order():
    records = make_records(10)
    ids = np.concatenate(
        [b["image_id"] for b in _take(15, records, CONFIG, batch_size=4, seed=1)]
    ).reshape(6, 10)
    for epoch in ids:
        assert sorted(epoch) == list(range(100, 110))
    assert len({tuple(epoch) for epoch in ids}) == 6


def test_seed_changes_order_and_augmentation():
    records = make_records(10)
    (a,), (b,) = (_take(1, records, CONFIG, batch_size=10, seed=seed) for seed in (0, 1))
    assert a["image_id"].tolist() != b["image_id"].tolist()
    order = [a["image_id"].tolist().index(i) for i in b["image_id"]]
    assert all((a["image"][order] != b["image"]).any(axis=(1, 2, 3)))


def test_augmentation_changes_from_epoch_to_epoch():
    records = make_records(4)
    first, second = _take(2, records, CONFIG, batch_size=4, seed=0)
    order = [first["image_id"].tolist().index(i) for i in second["image_id"]]
    assert all((first["image"][order] != second["image"]).any(axis=(1, 2, 3)))


def test_few_records_fill_a_large_batch():
    (batch,) = _take(1, make_records(3), CONFIG, batch_size=8, seed=0)
    assert sorted(batch["image_id"][:3]) == sorted(batch["image_id"][3:6]) == [100, 101, 102]


@hypothesis.settings(deadline=None)
@hypothesis.given(
    records=st.integers(1, 60),
    batch_size=st.integers(1, 70),
    step=st.integers(0, 10**6),
    seed=st.integers(0, 2**63),
)
def test_order_is_a_stream_of_permutations(records, batch_size, step, seed):
    """Batches of any size cut one and the same stream."""
    epochs, places = sample_order(records, batch_size, seed, step)
    one_by_one = [sample_order(records, 1, seed, step * batch_size + i) for i in range(batch_size)]
    assert epochs.tolist() == [int(epoch[0]) for epoch, _ in one_by_one]
    assert places.tolist() == [int(place[0]) for _, place in one_by_one]
    assert places.min() >= 0 and places.max() < records
    for epoch in set(epochs.tolist()):
        inside = places[epochs == epoch]
        assert len(set(inside.tolist())) == len(inside)


def test_rows_hold_what_the_augmentation_makes():
    """Each row, made again by hand from its record and its draw."""
    records = make_records(6)
    numbers = itertools.count()
    for batch in _take(3, records, CONFIG, batch_size=4, seed=5):
        for row in range(4):
            epoch, place = (int(a[0]) for a in sample_order(6, 1, 5, next(numbers)))
            record = records[place]
            image = cv2.cvtColor(
                cv2.imdecode(np.frombuffer(record["image"], np.uint8), 1), cv2.COLOR_BGR2RGB
            )
            height, width = image.shape[:2]
            mask = np.ones((height, width), np.uint8)
            mask[: 10 * (record["image_id"] % 2)] = 0
            drawn = augmentation.sample_augmentation(
                CONFIG.augmentation, height, width, augmentation.random_numbers(5, epoch, place)
            )
            people = len(record["area"])
            assert batch["mirrored"][row] == drawn.mirrored
            assert batch["image_id"][row] == record["image_id"]
            np.testing.assert_array_equal(
                batch["image"][row], augmentation.warp_image(image, drawn, 64)
            )
            np.testing.assert_array_equal(
                batch["valid_mask"][row], augmentation.warp_mask(mask, drawn, 16)
            )
            np.testing.assert_allclose(
                batch["keypoints"][row, :people],
                augmentation.warp_keypoints(
                    record["keypoints"], drawn, height, width, 64, COCO_17.mirror_permutation
                ),
                rtol=1e-6,
            )
            np.testing.assert_allclose(
                batch["area"][row, :people],
                augmentation.warp_area(record["area"], drawn, height, width, 64),
                rtol=1e-6,
            )
            reach = augmentation.squared_reach(record["keypoints"])
            np.testing.assert_allclose(
                batch["reach"][row, :people],
                augmentation.warp_area(reach, drawn, height, width, 64),
                rtol=1e-6,
            )
            np.testing.assert_allclose(
                batch["corners"][row, :people],
                augmentation.warp_corners(record["boxes"], drawn, height, width, 64),
                rtol=1e-5,
                atol=1e-4,
            )
            assert not batch["keypoints"][row, people:].any()
            assert not batch["area"][row, people:].any()


def test_devices_get_their_rows_and_the_host_keeps_the_ids():
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.NamedSharding(mesh, jax.P("data"))
    records = make_records(10)
    expected = _take(5, records, CONFIG, batch_size=8, seed=0)
    with jax.transfer_guard("disallow"):
        sent = list(prefetch_to_device(iter(expected), sharding))
    assert len(sent) == 5
    for (arrays, ids), batch in zip(sent, expected, strict=True):
        assert arrays.keys() == batch.keys() - {"image_id"}
        assert isinstance(ids, np.ndarray)
        np.testing.assert_array_equal(ids, batch["image_id"])
        for name, array in arrays.items():
            assert array.sharding == sharding
            np.testing.assert_array_equal(np.asarray(array), batch[name])


def test_prefetching_stays_ahead():
    """The next batches are on their way before they are asked for."""
    taken = []
    batches = (taken.append(i) or b for i, b in enumerate(_take(6, make_records(4), CONFIG,
                                                                batch_size=2, seed=0)))  # fmt: skip
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    stream = prefetch_to_device(batches, sharding, depth=2)
    next(stream)
    assert taken == [0, 1, 2]
    next(stream)
    assert taken == [0, 1, 2, 3]


def test_few_bytes_cross_to_the_device():
    """At the paper's size; the reference sends about 19 MB of floats."""
    config = DataConfig()
    (batch,) = _take(1, make_records(1), config, batch_size=1, seed=0)
    assert sum(batch[name].nbytes for name in batch if name != "image_id") <= 1.0e6


def test_crowds_beyond_the_batch_are_refused_before_training():
    records = make_records(3)
    records.records[1] = make_record(777, np.random.default_rng(0), people=5)
    with pytest.raises(
        InputError, match=r"image 777: 5 people, but max_people is 4.*--data.max-people 5"
    ):
        training_batches(records, CONFIG, batch_size=2, seed=0)


def test_crowds_that_the_index_hides_are_refused_when_met():
    """An index of another run of `prepare`."""
    records = make_records(3)
    index = records.index
    records.records[1] = make_record(777, np.random.default_rng(0), people=5)

    class Stale(MemoryRecords):
        index = None

    stale = Stale(records.records)
    stale.index = index
    with pytest.raises(
        InputError, match=r"image 777: 5 people, but max_people is 4.*--data.max-people 5"
    ):
        _take(3, stale, CONFIG, batch_size=2, seed=0)


def test_broken_image_is_named():
    records = make_records(3)
    records.records[2]["image"] = b"no image"
    with pytest.raises(InputError, match=r"102\.png"):
        _take(3, records, CONFIG, batch_size=2, seed=0)


def test_images_with_few_labels_are_not_trained_on():
    records = make_records(6)
    for record in records.records[::2]:
        record["keypoints"][..., 2] = 0
        record["keypoints"][0, :10, 2] = 1
    config = dataclasses.replace(CONFIG, min_keypoints=11)
    ids = np.concatenate(
        [batch["image_id"] for batch in _take(6, records, config, batch_size=2, seed=0)]
    )
    assert set(ids.tolist()) == {101, 103, 105}
    with pytest.raises(InputError, match="min_keypoints = 100"):
        training_batches(
            records, dataclasses.replace(CONFIG, min_keypoints=100), batch_size=2, seed=0
        )


def test_unequal_shares_are_refused():
    with pytest.raises(InputError, match="batch size 6: use a multiple of the 4"):
        training_batches(make_records(2), CONFIG, batch_size=6, seed=0, share=Share(0, 4))


def test_no_augmentation_leaves_the_central_square():
    """Ranges of no width: what is drawn is the plain image."""
    plain = AugmentationConfig(
        scale=(1.0, 1.0), rotation_deg=0.0, translation_px=0.0, flip_probability=0.0
    )
    record = make_record(1, np.random.default_rng(0))
    image = np.zeros((64, 64, 3), np.uint8)
    image[10:20, 30:50] = 200
    record.update(
        image=cv2.imencode(".png", image)[1].tobytes(), height=64, width=64, valid_mask=b""
    )
    config = dataclasses.replace(CONFIG, augmentation=plain)
    (batch,) = _take(1, MemoryRecords([record]), config, batch_size=1, seed=0)
    np.testing.assert_array_equal(batch["image"][0], image)
    assert batch["valid_mask"].all()


def test_leaving_in_the_middle_ends_the_program():
    """Threads are still at work on the next batches when the script ends."""
    script = (
        "from tests.data_pipelines.memory_records import make_records\n"
        "from data_pipelines.config import DataConfig\n"
        "from data_pipelines.input_pipeline import training_batches\n"
        "stream = training_batches(make_records(20), DataConfig(), batch_size=16, seed=0)\n"
        "print(next(stream)['image'].shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(16, 512, 512, 3)"


def test_a_finer_mask_comes_where_the_config_asks_for_it():
    records = make_records(4)
    config = dataclasses.replace(CONFIG, fine_valid_mask=True)
    (batch,) = _take(1, records, config, batch_size=4, seed=5)
    assert "fine_valid_mask" not in _take(1, records, CONFIG, batch_size=4, seed=5)[0]
    for row, (epoch, place) in enumerate(zip(*sample_order(4, 4, 5, 0), strict=True)):
        record = records[int(place)]
        mask = np.ones((record["height"], record["width"]), np.uint8)
        mask[: 10 * (record["image_id"] % 2)] = 0
        numbers = augmentation.random_numbers(5, int(epoch), int(place))
        drawn = augmentation.sample_augmentation(CONFIG.augmentation, *mask.shape, numbers)
        expected = augmentation.warp_mask(mask, drawn, 32)
        np.testing.assert_array_equal(batch["fine_valid_mask"][row], expected)
