"""A training that goes on under other circumstances, or is refused without a trace."""

import dataclasses
import itertools
import json
import shutil
from typing import ClassVar

import jax
import numpy as np
import pytest

from experiments.training import loop
from experiments.training.loop import train
from experiments.training.progress import Progress
from pinet_jax.errors import InputError
from pinet_jax.files import only_one
from pinet_jax.optimizers import OptimizerConfig, learning_rate
from tests.experiments.training.test_loop import lines
from tests.tiny import MODEL, batch, experiment

ONE_DEVICE = jax.devices()[:1]


class _Noise:
    """Eight images an epoch; nothing is rendered."""

    images_per_epoch = 8
    starts: ClassVar[list[int]] = []

    def __init__(self, config):
        self._size = config.training.batch_size

    def batches(self, start_step, sharding):
        self.starts.append(start_step)
        numbers = itertools.count(start_step)
        return (
            (jax.device_put(batch(self._size, number), sharding), np.zeros(0, int))
            for number in numbers
        )


@pytest.fixture(scope="module", autouse=True)
def _noise():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "open_training_data", _Noise)
        yield


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """An epoch of eight images in four steps of two."""
    workdir = tmp_path_factory.mktemp("begun")
    train(experiment(batch_size=2, epochs=1), workdir, devices=ONE_DEVICE)
    return workdir


def test_progress_is_kept_in_images():
    progress = Progress.resumed(4, 6, step=6, images_seen=12)  # six batches of two before
    assert [progress.batches(step) for step in (6, 7)] == [3, 4]
    assert [progress.epoch(step) for step in (6, 9)] == [2, 4]
    assert progress.last_step(4) == 9
    assert [progress.images(step) for step in (6, 9)] == [12, 24]
    smaller = Progress.resumed(1, 6, step=6, images_seen=12)
    assert (smaller.batches(6), smaller.epoch(6), smaller.last_step(4)) == (12, 2, 18)
    assert Progress.resumed(4, 6, step=3, images_seen=6).images(3) == 4  # a begun batch comes again
    assert Progress(20, 4473).last_step(140) == 31311


@pytest.mark.parametrize(
    ("batch_size", "first", "last", "epochs"),
    [(4, 2, 6, [1.5, 2.0]), (1, 8, 8, [1.125, 1.25, 1.375, 1.5])],
)
def test_it_goes_on_where_it_was_with_another_batch_size(
    begun, tmp_path, batch_size, first, last, epochs
):
    shutil.copytree(begun, tmp_path / "run")
    _Noise.starts.clear()
    optimizer = OptimizerConfig(drops=(epochs[0],))
    config = experiment(batch_size=batch_size, epochs=epochs[-1], optimizer=optimizer)
    for _ in range(2):  # the second time, nothing is left to do
        state = train(config, tmp_path / "run", devices=ONE_DEVICE)
        assert int(state.step) == last
    assert _Noise.starts == [first, first + len(epochs)]
    after = [line for line in lines(tmp_path / "run") if line["step"] > 4]
    assert [line["epoch"] for line in after] == epochs
    # The rate of a line is that before its step: it falls when the epoch of the drop is full.
    assert [line["learning_rate"] for line in after] == pytest.approx(
        [1e-3, *[1e-4] * (len(epochs) - 1)]
    )


def test_the_rate_goes_on_in_epochs():
    config = OptimizerConfig(schedule="cosine")
    small, large = learning_rate(config, 4, 3, 0), learning_rate(config, 4, 1.5, 3)
    assert float(large(6)) == pytest.approx(float(small(6)))  # both after two epochs
    assert float(large(9)) == pytest.approx(float(small(12)))


def test_what_is_refused_changes_nothing(begun):
    before = (begun / "config.json").read_text()
    width = dataclasses.replace(MODEL.backbone, width=8)
    for config in (
        dataclasses.replace(experiment(), model=dataclasses.replace(MODEL, backbone=width)),
        experiment(batch_size=2, optimizer=OptimizerConfig(method="muon")),
    ):
        with pytest.raises(InputError):
            train(config, begun, devices=ONE_DEVICE)
        assert (begun / "config.json").read_text() == before
    assert json.loads(before)["training"]["batch_size"] == 2


def test_another_optimizer_is_named(begun):
    other = experiment(batch_size=2, optimizer=OptimizerConfig(method="muon"))
    with pytest.raises(InputError) as caught:
        train(other, begun, devices=ONE_DEVICE)
    words = 'training.optimizer.method is "adam" there and "muon" in the config'
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_second_training_in_one_folder_is_refused(begun):
    config = experiment(batch_size=2, epochs=1)
    with (
        only_one(begun, "training"),
        pytest.raises(InputError, match="another training is at work there"),
    ):
        train(config, begun, devices=ONE_DEVICE)
    train(config, begun, devices=ONE_DEVICE)
