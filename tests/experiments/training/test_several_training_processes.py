"""A training by two or four real processes over loopback is the training by one."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from experiments.training import data as training_data
from experiments.training.loop import train
from pinet_jax.checkpoint_folders import step_folders
from pinet_jax.checkpoints import load_model
from tests.conftest import ROOT
from tests.experiments.testing.test_several_processes import finish, free_port
from tests.experiments.training.training_process import config, float64_on_memory_records
from tests.tiny import MODEL, experiment


def start(workdir, source, number, count, port, save_every):
    """One of several processes with two devices each."""
    module = "tests.experiments.training.training_process"
    # Compiles faster. Not of crowds: unoptimised, single pixels are rendered a level off.
    quick = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "true"} if source == "records" else {}
    arguments = map(str, (workdir, source, number, count, port, save_every))
    return subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
            # Only the first process would profit, and wait for the other.
            "JAX_ENABLE_COMPILATION_CACHE": "false",
        }
        | quick,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def start_until_saved(workdir, source, count, step, save_every=1):
    """So many processes, which have saved so many steps."""
    port = free_port()
    processes = [start(workdir, source, n, count, port, save_every) for n in range(count)]
    deadline = time.monotonic() + 600
    while not (workdir / "checkpoints" / str(step)).exists():
        if any(process.poll() is not None for process in processes) or time.monotonic() > deadline:
            for process in processes:
                process.kill()
            pytest.fail("\n".join(process.communicate()[0] for process in processes))
        time.sleep(0.1)
    return processes


def train_and_stop(workdir, source, count, step):
    """A training of which the last process was told to stop; and what all said."""
    processes = start_until_saved(workdir, source, count, step)
    processes[-1].send_signal(signal.SIGTERM)
    return [finish(process) for process in processes]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A training of two processes, of which one was told to stop; and what both said."""
    workdir = tmp_path_factory.mktemp("two")
    return workdir, train_and_stop(workdir, "records", 2, 3)


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def test_sigterm_to_one_stops_both_at_the_same_step(stopped):
    workdir, (first, second) = stopped
    last = lines(workdir)[-1]["step"]
    assert f"stopped at step {last}, which is saved" in first
    assert "stopped" not in second  # one of them speaks
    assert step_folders(workdir / "checkpoints")[-1].name == str(last)
    # Read where half of the devices are unknown.
    trained = dataclasses.replace(MODEL, min_part_area=1)
    assert load_model(workdir).method == trained


def check_against_one_process(workdir, alone, source):
    """One process goes on for two steps; all is as if it had been alone from the start."""
    epochs, device = (lines(workdir)[-1]["step"] + 2) / 2, jax.devices()[:1]
    with float64_on_memory_records():
        state = jax.device_get(train(config(epochs, source), workdir, devices=device))
        expected_state = jax.device_get(train(config(epochs, source), alone, devices=device))
    assert all(line["refinement"] > 0 for line in lines(alone))
    for ours, expected in zip(lines(workdir), lines(alone), strict=True):
        del ours["images_per_second"], expected["images_per_second"]
        assert ours == pytest.approx(expected, rel=1e-9)
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-7, atol=1e-9), state, expected_state
    )


def test_one_process_takes_over_and_all_is_as_if_it_had_been_alone(stopped, tmp_path):
    check_against_one_process(stopped[0], tmp_path, "records")


@pytest.mark.slow
@pytest.mark.parametrize("source", ["records", "crowds"])
def test_four_processes_then_two_then_one(source, tmp_path):
    workdir = tmp_path / "four"
    train_and_stop(workdir, source, 4, 2)
    train_and_stop(workdir, source, 2, lines(workdir)[-1]["step"] + 1)
    check_against_one_process(workdir, tmp_path / "alone", source)


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_where_one_is_killed_the_other_ends_in_one_line_and_nothing_is_lost(killed, tmp_path):
    workdir = tmp_path / "killed"
    # Not in a save, where all wait for each other, and JAX's service ends who waits in vain.
    processes = start_until_saved(workdir, "records", 2, 3, save_every=3)
    while lines(workdir)[-1]["step"] % 3 != 1:
        time.sleep(0.02)
    processes[killed].kill()
    other = processes[1 - killed]
    said, _ = other.communicate(timeout=200)
    assert other.returncode != 0
    processes[killed].communicate()
    if killed:  # with the first one JAX's own service is gone, which ends the others its own way
        assert other.returncode == 1
        (line,) = [line for line in said.splitlines() if "pinet-jax train" in line]
        assert "process 0 cannot go on with the others" in line and "goes on from it" in line
        assert "Traceback" not in said
    check_against_one_process(workdir, tmp_path / "alone", "records")


def test_each_process_renders_its_own_crowds(monkeypatch):
    from data_pipelines.synthetic_crowds import crowds

    monkeypatch.setattr(crowds, "crowd_batch", lambda key, ids, **_: {"image": ids})
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "make_array_from_process_local_data", lambda _, array: array)
    rows = []
    for process in range(2):
        monkeypatch.setattr(jax, "process_index", lambda process=process: process)
        batch, ids = next(training_data.SyntheticCrowds(experiment()).batches(5, None))
        np.testing.assert_array_equal(batch["image"], ids)
        rows.append(ids)
    np.testing.assert_array_equal(np.concatenate(rows), [20, 21, 22, 23])
