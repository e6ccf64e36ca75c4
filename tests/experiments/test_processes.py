"""Waiting for other processes: for whom, how long, and what is said where nobody comes."""

import os
import subprocess
import sys

import pytest

from experiments import processes
from pinet_jax.errors import UsageError
from tests.conftest import ROOT

SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_STEP_NODELIST": "localhost",
    "SLURM_JOB_NODELIST": "localhost",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NTASKS": "4",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
}
JOIN = "import sys; from experiments.processes import join_processes; join_processes(3)"


def test_slurms_variables_of_an_interactive_shell_end_in_one_line():
    done = subprocess.run(
        [sys.executable, "-c", JOIN],
        cwd=ROOT,
        env=os.environ | SLURM,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    waiting, gave_up = done.stderr.strip().splitlines()
    announced = "the 4 processes that SLURM announces (SLURM_STEP_NUM_TASKS)"
    assert waiting == f"--distributed: waiting for {announced}, 3 s at most"
    assert gave_up.startswith(f"--distributed: waited 3 s for {announced}; ")
    assert "--distributed-timeout" in gave_up


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ValueError("coordinator_address should be defined."), "nothing says which processes"),
        (KeyError("SLURM_LOCALID"), "(SLURM_LOCALID is missing)"),
    ],
)
def test_no_cluster_is_one_line(monkeypatch, error, words):
    def initialize(**_):
        raise error

    monkeypatch.setattr(processes.jax.distributed, "initialize", initialize)
    with pytest.raises(UsageError) as caught:
        processes.join_processes(300)
    assert words in str(caught.value) and "srun" in str(caught.value)
    with pytest.raises(UsageError, match="--distributed-timeout 0: give 1"):
        processes.join_processes(0)
