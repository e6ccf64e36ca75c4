"""One process of several: how it joins the others, and what it says where they do not come."""

from __future__ import annotations

import os
import sys
import threading

import jax

from pinet_jax.errors import InputError, UsageError

# How many processes there are, as whoever started them says; JAX knows these systems and more.
_COUNTS = {
    "SLURM_STEP_NUM_TASKS": "SLURM",
    "SLURM_NTASKS": "SLURM",
    "OMPI_COMM_WORLD_SIZE": "Open MPI",
    "PMI_SIZE": "MPI",
}
_GRACE = 60  # seconds: JAX ends the process with a dump of its stack, and so must come second


def join_processes(timeout: int) -> None:
    """Joins this process to the others of its run; says for whom it waits.

    Args:
        timeout: seconds to wait; after them the process ends with one line and status 1.

    Raises:
        UsageError: the timeout is none, or nothing says which processes there are.
        InputError: they cannot be joined.
    """
    if timeout < 1:
        raise UsageError(f"--distributed-timeout {timeout}: give 1 second or more")
    others = _announced()
    if others:
        print(f"--distributed: waiting for {others}, {timeout} s at most", file=sys.stderr)
    watch = threading.Timer(timeout, _give_up, (others or "other processes", timeout))
    watch.daemon = True
    watch.start()
    try:
        jax.distributed.initialize(initialization_timeout=timeout + _GRACE)
    except (KeyError, ValueError) as error:
        lacks = f" ({error.args[0]} is missing)" if isinstance(error, KeyError) else ""
        raise UsageError(
            f"--distributed: nothing says which processes there are{lacks}; start all of them "
            "through SLURM (srun), MPI (mpirun), Kubernetes or on a TPU pod, or leave "
            "--distributed out"
        ) from error
    except RuntimeError as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"--distributed: the processes cannot be joined ({reason})") from error
    finally:
        watch.cancel()


def _announced() -> str | None:
    """The processes of this run in words, as the environment has them."""
    for variable, system in _COUNTS.items():
        if variable in os.environ:
            return f"the {os.environ[variable]} processes that {system} announces ({variable})"
    return None


def _give_up(others: str, timeout: int) -> None:
    """Ends the process from beside JAX's call, which nothing else interrupts."""
    print(
        f"--distributed: waited {timeout} s for {others}; start all of them at once (srun does), "
        "raise --distributed-timeout, or leave --distributed out",
        file=sys.stderr,
        flush=True,
    )
    os._exit(1)
