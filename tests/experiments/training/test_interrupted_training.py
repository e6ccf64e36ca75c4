"""The train command ended from outside in every way; the next start goes on, bit for bit."""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from pinet_jax.checkpoint_folders import step_folders
from pinet_jax.checkpoints import load_model
from tests.conftest import ROOT

ENDLESS = """
from tests.tiny import experiment

def get_config():
    return experiment(epochs=1000)
"""


def start(workdir: Path, *flags: str) -> subprocess.Popen:
    """The command, on one device; every step is saved."""
    config = workdir.with_suffix(".py")
    config.write_text(ENDLESS)
    command = [sys.executable, "-m", "experiments.cli", "train"]
    return subprocess.Popen(
        [*command, "--config", config, "--workdir", workdir, *flags],
        cwd=ROOT,
        env=os.environ
        | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-tests"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_a_save(process: subprocess.Popen, workdir: Path, whole: bool) -> None:
    """Returns when a checkpoint more is there than now, whole or not."""
    before, deadline = newest(workdir, whole), time.monotonic() + 600
    while newest(workdir, whole) <= before:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            pytest.fail(f"nothing was saved: {process.communicate()}")
        time.sleep(0.005)


def newest(workdir: Path, whole: bool) -> int:
    """The step of the newest checkpoint; of the remains of one, too, unless `whole`."""
    names = [path.name for path in workdir.glob("checkpoints/*")]
    steps = [name if whole else name.split(".")[0] for name in names]
    return max((int(step) for step in steps if step.isdigit()), default=0)


def kill_during_a_save(workdir: Path, delay: float) -> None:
    process = start(workdir)
    wait_for_a_save(process, workdir, whole=False)
    time.sleep(delay)
    process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL


def check_against_a_training_of_its_own(workdir: Path, other: Path) -> None:
    """Goes on for two steps, which must lead where as many steps without any end lead."""
    steps = newest(workdir, whole=True) + 2
    epochs = ("--training.epochs", str(steps / 2))
    # All of it in processes alike: with more threads XLA may add up in another order.
    processes = [start(workdir, *epochs), start(other, *epochs, "--loop.save-every", "1000")]
    for process in processes:
        _, error = process.communicate(timeout=600)
        assert process.returncode == 0, error
    ended, alone = load_model(workdir).variables, load_model(other).variables
    jax.tree.map(np.testing.assert_array_equal, ended, alone)
    assert losses(workdir) == losses(other)
    left = {path.name for path in (workdir / "checkpoints").iterdir()}
    assert left == {str(steps - place) for place in range(3)}


def losses(workdir: Path) -> list[tuple[int, float]]:
    lines = map(json.loads, (workdir / "metrics.jsonl").read_text().splitlines())
    return [(line["step"], line["loss"]) for line in lines]


def test_whatever_ends_it_the_next_start_goes_on(tmp_path):
    workdir = tmp_path / "ended"

    process = start(workdir)
    wait_for_a_save(process, workdir, whole=True)
    # No file may be longer: what writing to a full disk leads to, without filling one.
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
    said, error = process.communicate(timeout=300)
    assert process.returncode == 1
    (line,) = (line for line in error.splitlines() if "pinet-jax" in line)
    assert "a checkpoint cannot be written" in line
    assert f"the last good one is {step_folders(workdir / 'checkpoints')[-1]}; make room" in line
    assert "Traceback" not in error
    load_model(workdir)

    process = start(workdir)
    wait_for_a_save(process, workdir, whole=True)
    process.send_signal(signal.SIGTERM)
    said, error = process.communicate(timeout=300)
    assert process.returncode == 128 + signal.SIGTERM, error
    assert f"stopped at step {newest(workdir, whole=False)}, which is saved" in said

    kill_during_a_save(workdir, delay=0.05)
    check_against_a_training_of_its_own(workdir, tmp_path / "alone")


@pytest.mark.slow
def test_kills_at_many_moments(tmp_path):
    rng = random.Random(0)
    for _ in range(8):
        kill_during_a_save(tmp_path / "killed", delay=rng.uniform(0, 3))
    check_against_a_training_of_its_own(tmp_path / "killed", tmp_path / "alone")
