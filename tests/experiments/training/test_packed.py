"""Batches of packs: pure functions of seed and step, by weight, the same on any devices."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from data_pipelines.device_augmentation import DeviceAugmentationConfig
from data_pipelines.packs import Pack, write_pack
from experiments.configs import load_config
from experiments.configs.base import PackedConfig
from experiments.training.data import open_training_data
from experiments.training.packed import cumulative_weights, render_pack, stack_packs
from experiments.training.start import note_config
from pinet_jax.errors import InputError, UsageError
from pinet_jax.runtime import make_mesh, split_by_image
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines.coco_files import content, write_images, write_json


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    """Two packs of three and five pictures."""
    folder = tmp_path_factory.mktemp("packs")
    packs = []
    for name, count, first in (("a", 3, 1), ("b", 5, 11)):
        annotations = content(count, first_id=first)
        write_images(folder / name, annotations)
        file = write_json(folder / f"{name}.json", annotations)
        packs.append(folder / f"{name}.npz")
        write_pack(packs[-1], file, folder / name, COCO_17)
    config = load_config("photographs")
    packed = PackedConfig(
        packs=tuple(packs),
        weights=(3.0, 1.0),
        partial=(False, True),
        augmentation=DeviceAugmentationConfig(size=64),
    )
    training = dataclasses.replace(config.training, batch_size=8)
    return dataclasses.replace(config, packed=packed, training=training)


def _batches(experiment, start, count, devices):
    data = open_training_data(experiment)
    batches = data.batches(start, split_by_image(make_mesh(jax.devices()[:devices])))
    return [jax.device_get(next(batches)[0]) for _ in range(count)]


def test_a_step_has_the_same_batch_after_a_restart_and_on_other_devices(experiment):
    whole = _batches(experiment, 0, 3, devices=1)
    again = _batches(experiment, 2, 1, devices=4)
    for name, array in whole[2].items():
        np.testing.assert_array_equal(again[0][name], array)
    assert (whole[0]["image"] != whole[1]["image"]).any()


def test_a_batch_is_what_a_method_takes(experiment):
    (batch,) = _batches(experiment, 0, 1, devices=1)
    shapes = {name: (array.shape, array.dtype) for name, array in batch.items()}
    assert shapes["image"] == ((8, 64, 64, 3), np.uint8)
    assert shapes["keypoints"] == ((8, 16, 17, 3), np.float32)
    assert shapes["area"] == ((8, 16), np.float32)
    assert shapes["valid_mask"] == ((8, 16, 16), np.uint8)
    assert shapes["background"] == ((8, 16, 16, 18), np.bool_)


def test_images_are_drawn_by_their_sources_weights():
    cumulative = cumulative_weights([4, 100], (3.0, 1.0))
    np.testing.assert_allclose(cumulative[[3, -1]], [3, 4], rtol=1e-6)
    np.testing.assert_allclose(np.diff(cumulative[:4]), 0.75, rtol=1e-5)


def test_packs_of_different_sizes_share_a_square():
    def pack(side, count):
        return Pack(
            np.full((count, side, side, 3), side, np.uint8),
            np.full((count, 2), side, np.float32),
            np.zeros((count, 16, 17, 3), np.float32),
            np.zeros((count, 16, 4), np.float32),
            np.zeros((count, 32, 4), np.float32),
            np.arange(count),
        )

    photos = stack_packs([pack(4, 2), pack(6, 1)], (True,))
    assert photos.image.shape == (3, 6, 6, 3)
    assert photos.image[0, 4:].sum() == 0
    assert photos.partial.tolist() == [True, True, False]


@pytest.mark.slow
def test_rendered_crowds_are_a_pack():
    pack = render_pack(3, 128, COCO_17)
    assert pack.images.shape == (3, 128, 128, 3)
    assert pack.keypoints.shape == (3, 16, 17, 3)
    labelled = (pack.keypoints[..., 2] > 0).any(axis=-1)
    assert labelled.any(axis=1).all()
    assert (pack.boxes[labelled][:, 2:] > 0).all()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": (1.0, 2.0)}, "weights"),
        ({"weights": (0.0,)}, "weights"),
        ({"partial": (True, False)}, "partial"),
    ],
)
def test_what_does_not_fit_together_is_named(tmp_path, fields, message):
    with pytest.raises(UsageError, match=message):
        PackedConfig(packs=(tmp_path / "a.npz",), **fields)


def test_the_config_of_a_training_names_its_packs(experiment, tmp_path, capsys):
    for _ in range(2):
        note_config(experiment, tmp_path)
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["packed"]["packs"] == [str(path) for path in experiment.packed.packs]
    assert not capsys.readouterr().out  # the same config is no other one


def test_a_training_without_packs_says_what_to_name(experiment):
    with pytest.raises(UsageError, match="packs"):
        open_training_data(dataclasses.replace(experiment, packed=PackedConfig()))


def test_a_pack_that_is_not_there_is_named(experiment, tmp_path):
    packed = PackedConfig(packs=(tmp_path / "nowhere.npz",))
    with pytest.raises(InputError, match=r"nowhere\.npz"):
        open_training_data(dataclasses.replace(experiment, packed=packed))
