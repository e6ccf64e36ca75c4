"""The machine's faults in one line: no device, no memory, a terminal that shows no UTF-8."""

import os
import subprocess
import sys

import jax
import pytest

from experiments import cli
from pinet_jax.errors import InputError
from pinet_jax.runtime import memory_advice
from tests.conftest import ROOT


def test_a_device_that_is_not_there_is_one_line():
    script = (
        "from pinet_jax.runtime import require_devices\n"
        "try:\n    require_devices()\nexcept ValueError as error:\n    print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=os.environ | {"JAX_PLATFORMS": "nothing"}, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    (line,) = done.stdout.splitlines()
    assert line.startswith("JAX_PLATFORMS=nothing: JAX finds no such device")
    assert "pip install" in line


def test_the_command_line_says_so_too(monkeypatch, capsys):
    def without(*_):
        raise AssertionError

    monkeypatch.setattr(cli, "run", without)
    monkeypatch.setattr(jax, "devices", without)
    monkeypatch.setattr(sys, "argv", ["pinet-jax", "predict"])
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("pinet-jax predict: JAX_PLATFORMS=cuda: JAX finds no such device")


@pytest.mark.parametrize(
    "error",
    [jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nallocating"), MemoryError()],
)
def test_memory_that_does_not_suffice_is_one_line(error):
    with pytest.raises(InputError) as caught, memory_advice("with batches of 8: take less"):
        raise error
    assert str(caught.value) == "not enough memory with batches of 8: take less"


def test_other_errors_of_the_runtime_stay():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"), memory_advice("less"):
        raise jax.errors.JaxRuntimeError("INTERNAL: bug")


def test_a_terminal_without_utf_8_loses_nothing():
    script = (
        "import sys; from experiments import cli\n"
        "cli.run = lambda *_: print('größe.jpg: done')\n"
        "sys.argv = ['pinet-jax', 'predict']; cli.main(); print('end')"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=ROOT, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines() == ["gr\\xf6\\xdfe.jpg: done", "end"]
