import dataclasses
import json
import shutil
import signal
from pathlib import Path

import jax
import numpy as np
import pytest

from data_pipelines.config import PersonDataConfig
from experiments import cli
from experiments.commands import train as train_command
from experiments.training import loop
from experiments.training.loop import train
from experiments.training.start import InitialWeights
from pinet_jax.checkpoint_folders import step_folders
from pinet_jax.checkpoints import load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.methods.dekr import DEKR, DEKRInference
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet, TopDownInference
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.resnet import ResNetConfig
from pinet_jax.skeletons import CROWDPOSE_14
from tests.tiny import BACKBONE, MODEL, experiment, with_loop

CONFIG = experiment()
STEPS = 4


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training that nothing disturbed: its folder and its last state."""
    workdir = tmp_path_factory.mktemp("whole")
    return workdir, jax.device_get(run(workdir))


def run(workdir: Path, config=CONFIG):
    return train(config, workdir, devices=jax.devices()[:1])


def assert_same(state, expected):
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(state), expected)


def lines(workdir: Path) -> list[dict]:
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_a_whole_training(whole):
    workdir, state = whole
    assert state.step == STEPS
    assert [line["step"] for line in lines(workdir)] == [1, 2, 3, 4]
    assert [path.name for path in step_folders(workdir / "checkpoints")] == ["2", "3", "4"]
    config, variables, _ = load_model(workdir)
    assert config == MODEL
    assert_same(variables["params"], state.params)
    assert json.loads((workdir / "config.json").read_text())["training"]["batch_size"] == 4
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_what_a_killed_run_leaves_is_no_obstacle(whole, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(whole[0], workdir)
    checkpoints = workdir / "checkpoints"
    shutil.rmtree(checkpoints / "4")
    # Half a save, half a removal, half a line.
    shutil.copytree(checkpoints / "3" / "model", checkpoints / "4.orbax-checkpoint-tmp" / "model")
    (checkpoints / "2" / "model").rename(tmp_path / "model")
    (checkpoints / "2").rename(checkpoints / "2.removed")
    with (workdir / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')
    assert_same(run(workdir), whole[1])
    assert [line["step"] for line in lines(workdir)] == [1, 2, 3, 4]
    assert all(path.name.isdigit() for path in checkpoints.iterdir())


FINEST = dataclasses.replace(BACKBONE, concatenated=False)
SYSTEMS = {
    "cid": (CID(backbone=BACKBONE), CIDInference(input_size=64, flip=False)),  # moves people
    "dekr": (DEKR(backbone=BACKBONE, offset_channels=3), DEKRInference(input_size=64, flip=False)),
    "higher_hrnet": (
        HigherHRNet(backbone=FINEST, blocks=1),
        HigherHRNetInference(input_size=64, flip=False),
    ),
    "ae": (
        HigherHRNet(backbone=FINEST, doublings=0),
        HigherHRNetInference(input_size=64, flip=False),
    ),
    "spm": (dataclasses.replace(MODEL, partition="center", refinement=None), CONFIG.inference),
    "simple_baseline": (
        SimpleBaseline(
            backbone=ResNetConfig(base_width=4, bottlenecks=(1, 1, 1, 1)),
            upsampled_width=4,
            crop_shape=(64, 32),
        ),
        TopDownInference(flip=False),
    ),
    "topdown_hrnet": (
        TopDownHRNet(backbone=FINEST, crop_shape=(64, 32)),
        TopDownInference(flip=False),
    ),
}
LATER = [pytest.param(name, marks=[] if name == "cid" else pytest.mark.slow) for name in SYSTEMS]


@pytest.mark.parametrize("name", LATER)
def test_other_systems_go_on_as_if_never_stopped(tmp_path, name):
    """CID's random positions too: by the step, not by when the training began."""
    model, inference = SYSTEMS[name]
    data = PersonDataConfig() if model.needs_boxes else CONFIG.data
    config = dataclasses.replace(CONFIG, model=model, inference=inference, data=data)
    state = jax.device_get(run(tmp_path, config))
    shutil.rmtree(tmp_path / "checkpoints" / "4")
    shutil.rmtree(tmp_path / "checkpoints" / "3")
    assert_same(run(tmp_path, config), state)


def test_a_loss_that_is_not_finite_stops_the_training(tmp_path, monkeypatch):
    compiled = loop.compile_train_step

    def compile_poisoned(training, mesh):
        step, factors = compiled(training, mesh), iter([1, 1, np.nan, 1])

        def poisoned(state, batch):
            state, metrics = step(state, batch)
            return state, jax.device_get(metrics) | {"loss": next(factors)}

        return poisoned

    monkeypatch.setattr(loop, "compile_train_step", compile_poisoned)
    with pytest.raises(InputError) as error:
        run(tmp_path)
    message = str(error.value)
    assert "step 3" in message and "[8, 9, 10, 11]" in message
    assert str(tmp_path / "checkpoints" / "2") in message and "\n" not in message
    assert [path.name for path in step_folders(tmp_path / "checkpoints")] == ["1", "2"]


class Loss(float):
    """Of a step, and whether the device has come to its end when the next one may begin."""

    ended = True

    def is_ready(self) -> bool:
        return self.ended


@pytest.mark.parametrize(
    ("ended", "order"),
    [
        (True, ["take", 1, "take", 2, "take", 3, "take", 4]),
        (False, ["take", "take", 1, "take", 2, "take", 3, 4]),  # the last one is waited for
    ],
)
def test_a_step_that_has_ended_is_noted_before_the_next(tmp_path, monkeypatch, ended, order):
    compiled, note, done = loop.compile_train_step, loop.TrainingLog.step, []

    def compile_watched(training, mesh):
        step = compiled(training, mesh)

        def watched(state, batch):
            state, metrics = step(state, batch)
            done.append("take")
            return state, jax.device_get(metrics) | {"loss": Loss(1)}

        return watched

    def watched_note(log, step, *rest):
        done.append(step)
        note(log, step, *rest)

    monkeypatch.setattr(Loss, "ended", ended)
    monkeypatch.setattr(loop, "compile_train_step", compile_watched)
    monkeypatch.setattr(loop.TrainingLog, "step", watched_note)
    run(tmp_path, with_loop(CONFIG, save_every=STEPS))
    assert done == order


def test_another_network_is_refused_with_the_difference(whole):
    other = experiment()
    backbone = HRNetConfig(8, 4, 1, width=8, modules=(1,), blocks=1)
    for model, words in (
        ({"backbone": backbone}, "backbone.width is 4 there and 8 in the config"),
        ({"skeleton": CROWDPOSE_14}, 'skeleton.name is "coco_17" there and "crowdpose_14"'),
    ):
        model = dataclasses.replace(other.model, **model)
        with pytest.raises(InputError, match=words):
            run(whole[0], dataclasses.replace(other, model=model))


def test_it_starts_from_a_whole_network(whole, tmp_path):
    workdir, last = whole
    config = experiment(epochs=0, seed=5, ema_decay=0.9)
    state = train(config, tmp_path, init=InitialWeights(model=workdir), devices=jax.devices()[:1])
    assert state.step == 0
    assert_same(state.params, last.params)
    assert_same(state.average["params"], last.params)
    assert_same(state.batch_stats, last.batch_stats)
    with pytest.raises(UsageError, match="--init-backbone and --init-model: give one"):
        train(CONFIG, tmp_path, init=InitialWeights(workdir, workdir))


def test_it_goes_on_with_another_number_of_devices(whole, tmp_path):
    shutil.copytree(whole[0], tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "4")
    state = train(CONFIG, tmp_path / "run", devices=jax.devices()[:2])
    np.testing.assert_allclose(
        lines(tmp_path / "run")[-1]["loss"], lines(whole[0])[-1]["loss"], rtol=1e-4
    )
    assert len(state.step.sharding.device_set) == 2


def test_evaluation_in_between_and_a_trace(tmp_path, capsys):
    config = with_loop(CONFIG, evaluate_every=1, pictures=1, profile=(2, 3))
    run(tmp_path, config)
    assert [path.suffix for path in (tmp_path / "profile").rglob("*.xplane.pb")]
    assert "profile: the trace is written" in capsys.readouterr().out
    tested = [line for line in lines(tmp_path) if "AP" in line]
    assert [line["step"] for line in tested] == [2, 4]
    assert 0 <= tested[0]["AP"] <= 1
    assert (tmp_path / "pictures" / "step_0000004" / "0.jpg").is_file()
    stored = json.loads((tmp_path / "checkpoints" / "4" / "evaluation.json").read_text())
    assert stored["AP"] == tested[1]["AP"]


def test_the_command_line_reaches_every_field(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        train_command, "train", lambda config, workdir, **rest: seen.update(config=config)
    )
    monkeypatch.setattr(train_command, "prepare_process", lambda: None)
    cli.run(
        "train",
        f"--config crowdpose --workdir {tmp_path} --training.optimizer.learning-rate 0.5 "
        "--training.batch-norm.group-size 10 --model.refinement.graph static "
        "--loop.profile 3 5".split(),
    )
    config = seen["config"]
    assert config.training.optimizer.learning_rate == 0.5
    assert config.training.optimizer.drops == (200, 260)
    assert config.training.batch_norm.group_size == 10
    assert config.model.refinement.graph.__name__ == "static"
    assert config.model.skeleton == CROWDPOSE_14
    assert config.loop.profile == (3, 5)
