"""convert and export, from the command line on."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from experiments import cli
from experiments.commands import export
from experiments.configs import available_configs, load_config
from pinet_jax.checkpoints import load_config as load_stored
from pinet_jax.errors import InputError, UsageError
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.interop.weight_files import read_arrays
from pinet_jax.methods.base import init_variables
from tests.weights_rule import state_dict

MICRO_CONFIG = """
from experiments.configs.base import ExperimentConfig
from pinet_jax.methods.pinet import PINet
from tests.tiny import MICRO

def get_config():
    return ExperimentConfig(model=PINet(backbone=MICRO))
"""


def converted(*arguments):
    cli.run("convert", [str(word) for word in arguments])


@pytest.fixture
def micro(tmp_path):
    """A config file of the user's own, and weights for it."""
    config = tmp_path / "mine.py"
    config.write_text(MICRO_CONFIG)
    method = load_config(str(config)).model
    state = to_state_dict(init_variables(method, seed=4), method)
    np.savez(tmp_path / "weights.npz", **state)
    return config, tmp_path / "weights.npz", state


@pytest.mark.parametrize(
    "format, suffix", [("npz", ".npz"), ("safetensors", ".safetensors"), ("torch", ".pth")]
)
def test_weights_go_in_and_out_unchanged(micro, format, suffix, tmp_path):
    if format == "torch":
        pytest.importorskip("torch")
    config, weights, state = micro
    converted(weights, "--config", config, "--out", tmp_path / "checkpoint")
    out = tmp_path / f"out{suffix}"
    export.main(checkpoint=str(tmp_path / "checkpoint"), format=format, out=str(out))
    back = read_arrays(out)
    assert back.keys() == state.keys()
    for name, array in back.items():
        np.testing.assert_array_equal(array, state[name], strict=True)


def test_a_folder_that_is_there_is_refused_before_anything_is_read(micro, tmp_path):
    config, *_ = micro
    (tmp_path / "there").mkdir()
    with pytest.raises(UsageError, match=r"--out .*there: exists already; remove it"):
        converted("no_such_file.npz", "--config", config, "--out", tmp_path / "there")


def test_a_released_model_is_converted(tmp_path):
    np.savez(tmp_path / "coco.npz", **state_dict("coco"))
    converted(tmp_path / "coco.npz", "--config", "coco", "--out", tmp_path / "checkpoint")
    method, inference = load_stored(tmp_path / "checkpoint")
    experiment = load_config("coco")
    assert (method, inference) == (experiment.model, experiment.inference)
    with pytest.raises(InputError, match=r"coco\.npz: does not fit the network; missing \[pr"):
        converted(tmp_path / "coco.npz", "--config", "ochuman", "--out", tmp_path / "other")


def test_a_network_may_be_in_two_files(micro, tmp_path, monkeypatch):
    config, _, state = micro
    names = sorted(state)
    halves = [tmp_path / "first.npz", tmp_path / "second.npz"]
    for half, own in zip(halves, (names[::2], names[1::2]), strict=True):
        np.savez(half, **{name: state[name] for name in own})
    first, second = map(str, halves)
    out = str(tmp_path / "checkpoint")
    with pytest.raises(InputError, match=r"first\.npz: does not fit the network; missing"):
        converted(first, "--config", config, "--out", out)
    arguments = [first, "--also", second, "--config", str(config), "--out", out]
    monkeypatch.setattr(sys, "argv", ["pinet-jax", "convert", *arguments])
    cli.main()
    export.main(checkpoint=out, format="npz", out=str(tmp_path / "out.npz"))
    back = read_arrays(tmp_path / "out.npz")
    assert back.keys() == state.keys()
    assert all((back[name] == state[name]).all() for name in names)


def test_fields_of_the_network_are_flags(micro, tmp_path):
    config, _, _ = micro
    method = load_config(str(config)).model
    wide = dataclasses.replace(method, backbone=dataclasses.replace(method.backbone, width=8))
    state = to_state_dict(init_variables(wide), wide)
    np.savez(tmp_path / "wide.npz", **state)
    out = tmp_path / "checkpoint"
    converted(tmp_path / "wide.npz", "--config", config, "--model.backbone.width", 8, "--out", out)
    assert load_stored(out)[0] == wide


def test_a_suffix_of_another_format_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"--out a\.npz: a torch file ends in"):
        export.main(checkpoint="c", format="torch", out="a.npz")


def test_configs_go_by_name_or_file(tmp_path):
    assert {"coco", "crowdpose", "ochuman"} <= set(available_configs())
    with pytest.raises(InputError, match=r"--config cocoo: use one of .*crowdpose"):
        load_config("cocoo")
    with pytest.raises(InputError, match=r"absent\.py: no such file"):
        load_config(str(tmp_path / "absent.py"))
    (tmp_path / "empty.py").write_text("")
    with pytest.raises(InputError, match=r"empty\.py: has no function get_config"):
        load_config(str(tmp_path / "empty.py"))


def test_a_missing_extra_is_named(monkeypatch, capsys):
    def main():
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(cli.importlib, "import_module", lambda name: SimpleNamespace(main=main))
    monkeypatch.setattr(sys, "argv", ["pinet-jax", "prepare"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert "pip install 'pinet-jax[data]'" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, status, message",
    [
        ([], 0, "usage: pinet-jax COMMAND"),
        (["--help"], 0, "convert"),
        (["convrt"], 2, "no command 'convrt'"),
        (["convert", "a.npz"], 2, "--config"),
        (
            ["convert", "absent.npz", "--config", "coco", "--out", "x"],
            1,
            "absent.npz: no such file",
        ),
    ],
)
def test_the_exit_status_tells_wrong_calls_from_failures(arguments, status, message):
    call = [sys.executable, "-m", "experiments.cli", *arguments]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert message in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
