"""What an experiment's samples are made of, from its config."""

import dataclasses
import itertools
import shutil

import jax
import numpy as np
import pytest

from data_pipelines.config import AugmentationConfig, MixtureConfig, PastingConfig, PixelConfig
from data_pipelines.input_pipeline import batches, training_batches
from data_pipelines.synthetic_crowds.config import CrowdConfig
from experiments.configs import available_configs, load_config
from experiments.training import sources
from experiments.training.loop import train
from pinet_jax.errors import InputError, UsageError
from pinet_jax.skeletons import CROWDPOSE_14
from tests.data_pipelines.memory_records import MemoryRecords, make_record, make_records
from tests.tiny import experiment


def set_of(first_id: int, count: int) -> MemoryRecords:
    rng = np.random.default_rng(first_id)
    return MemoryRecords([make_record(first_id + number, rng) for number in range(count)])


def without_labels():
    record = make_record(1, np.random.default_rng(0))
    record["keypoints"][..., 2] = 0
    return record


SETS = {
    ("coco_keypoints", "train"): make_records(6),
    ("street", "train"): set_of(500, 4),
    ("street", "spring"): set_of(700, 4),
    ("bare", "spring"): MemoryRecords([without_labels()]),
    ("fourteen", "train"): MemoryRecords(make_records(2).records, CROWDPOSE_14),
}


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    monkeypatch.setattr(sources, "open_split", lambda dataset, split: SETS[str(dataset), split])


def config(mixture=MixtureConfig(), **data):
    """An experiment on small images."""
    plain = experiment()
    data = {"input_size": 64, "max_people": 4, "mixture": mixture} | data
    return dataclasses.replace(plain, data=dataclasses.replace(plain.data, **data))


def ids(samples, count):
    made = itertools.islice(batches(samples, batch_size=20), count)
    return np.concatenate([batch["image_id"] for batch in made])


def test_one_set_alone_has_the_batches_that_it_had():
    plain = config()
    samples = sources.open_samples(plain)
    records = SETS["coco_keypoints", "train"]
    ours = next(batches(samples, batch_size=4, start_step=3))
    seed = plain.training.seed
    before = next(training_batches(records, plain.data, batch_size=4, seed=seed, start_step=3))
    assert ours.keys() == before.keys()
    for name in ours:
        np.testing.assert_array_equal(ours[name], before[name])
    assert len(samples) == 6


def test_further_sets_by_name_split_and_weight():
    mixture = MixtureConfig(("street", "street:spring"), (0.5, 1.0), partial=("street:spring",))
    samples = sources.open_samples(config(mixture))
    found = ids(samples, 50) // 100
    assert [int((found == hundred).sum()) for hundred in (1, 5, 7)] == [400, 200, 400]
    assert len(samples) == 15  # so many have each of the six records once
    batch = next(batches(samples, batch_size=40))
    np.testing.assert_array_equal(batch["partial"], batch["image_id"] // 100 == 7)


def test_sets_of_the_same_size_do_not_come_in_the_same_order():
    mixture = MixtureConfig(("street", "street:spring"))
    found = ids(sources.open_samples(config(mixture)), 3)
    one, other = (found[found // 100 == hundred] % 100 for hundred in (5, 7))
    assert one[:12].tolist() != other[:12].tolist()


@pytest.mark.parametrize(
    ("mixture", "data", "error", "message"),
    [
        ({"partial": ("lsp",)}, {}, UsageError, "partial lsp: is none of the sets coco_keypoints"),
        ({"sets": ("fourteen",)}, {}, InputError, "fourteen: has 14 keypoints"),
        (
            {"crowds_weight": 1.0, "crowds": CrowdConfig(people=(2, 9), size=64)},
            {},
            UsageError,
            "max_people 4: crowds have up to 9",
        ),
        ({"sets": ("street",), "weights": (1e-5,)}, {}, UsageError, "at least 1/1000 of the sum"),
        ({"sets": ("bare:spring",)}, {}, InputError, "bare, split spring: no image has min_keypoi"),
    ],
)
def test_what_cannot_be_mixed(mixture, data, error, message):
    with pytest.raises(error, match=message):
        sources.open_samples(config(MixtureConfig(**mixture), **data))


def test_methods_that_cannot_leave_keypoints_out_say_so():
    plain = load_config("cid_coco")
    mixture = MixtureConfig(partial=("coco_keypoints",))
    with pytest.raises(UsageError, match="partial coco_keypoints: CID trains nothing where"):
        sources.open_samples(
            dataclasses.replace(plain, data=dataclasses.replace(plain.data, mixture=mixture))
        )


def test_nobody_is_pasted_where_no_outline_is_known(tmp_path, monkeypatch):
    records = make_records(2)
    records.annotations_file = tmp_path / "annotations.json"
    records.annotations_file.write_text('{"images": [], "annotations": []}')
    monkeypatch.setattr(sources, "open_split", lambda dataset, split: records)
    augmentation = AugmentationConfig(pasting=PastingConfig(share=0.5))
    with pytest.raises(InputError, match="nobody has an outline"):
        sources.open_samples(config(augmentation=augmentation))


@pytest.mark.parametrize("name", available_configs())
def test_published_recipes_have_nothing_that_the_papers_have_not(name):
    data = load_config(name).data
    assert data.mixture == MixtureConfig()
    assert data.augmentation.pixels == type(data.augmentation.pixels)()
    assert getattr(data.augmentation, "pasting", PastingConfig()) == PastingConfig()


@pytest.mark.slow
def test_a_mixture_is_trained_on_and_goes_on_where_it_was_stopped(tmp_path):
    """Two sets, one of which lacks labels, and rendered crowds; four steps, then the last again."""
    crowds = CrowdConfig(people=(1, 2), size=64)
    mixture = MixtureConfig(("street",), (0.5,), ("street",), crowds_weight=0.5, crowds=crowds)
    pixels = PixelConfig(brightness=0.3, blur=0.5)
    mixed = config(mixture, augmentation=AugmentationConfig(pixels=pixels))
    epochs = 16 / len(sources.open_samples(mixed))
    training = dataclasses.replace(mixed.training, epochs=epochs)
    mixed = dataclasses.replace(mixed, synthetic=None, training=training)
    one = jax.devices()[:1]
    state = jax.device_get(train(mixed, tmp_path, devices=one))
    assert state.step == 4
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    again = jax.device_get(train(mixed, tmp_path, devices=one))
    jax.tree.map(np.testing.assert_array_equal, again, state)
