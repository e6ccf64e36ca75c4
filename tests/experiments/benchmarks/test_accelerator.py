"""The accelerator's benchmark starts where little is installed, and says what it finds."""

import subprocess
import sys

import pytest

from experiments.benchmarks import accelerator
from experiments.benchmarks.accelerator_programs import Row
from tests.conftest import ROOT

# What a GPU's machine may lack.
ABSENT = ("tensorflow", "tensorflow_datasets", "tyro", "platformdirs", "pycocotools", "matplotlib")
WITHOUT = f"import sys; sys.modules.update(dict.fromkeys({ABSENT!r})); "


def run(code: str, *arguments: str) -> str:
    command = [sys.executable, "-c", WITHOUT + code, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_starts_without_what_a_gpus_machine_may_lack():
    assert run("import experiments.benchmarks.accelerator as a; print(a.Run)").startswith("<class")


@pytest.mark.slow
def test_a_small_run_holds_the_golden_figures():
    code = "import experiments.benchmarks.accelerator as a; a.main()"
    lines = run(code, "--small", "--seconds", "1500", "--torch", "none").splitlines()
    golden = [line for line in lines if line.startswith("| golden")]
    assert len(golden) == 3
    assert all("holds" in line for line in golden)
    timed = [line for line in lines if line.startswith(("| train", "| flip", "| fus", "| gro"))]
    assert len(timed) == 5
    assert not any("failed" in line or "left out" in line for line in lines)


def test_shares_are_of_the_cards_peaks(monkeypatch, capsys):
    class Card:
        device_kind = "NVIDIA H100 80GB HBM3"

    monkeypatch.setattr(accelerator.jax, "devices", lambda: [Card()])
    accelerator.show(Row("step", seconds=2.0, images=10, flops=989e12, bytes=3.35e12, note="n"))
    accelerator.show(Row("left out"))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| step | 2000.00 | 5.0 | 50.0% | 50.0% | n |"
    assert lines[1].count("|") == 7
