"""`pinet-jax COMMAND ...`: the one entry point.

Every command is a module of `experiments.commands`, imported only when it is called, so that
`predict` never waits for TensorFlow, nor `score` for JAX. Its `main` takes the flags; a function
`defaults` beside it makes defaults of what other flags name, and `field_types` says how values that
are no plain ones are written.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import io
import os
import sys
from collections.abc import Sequence

import tyro

from experiments.commands.flags import given, in_flags, local_paths
from pinet_jax.errors import InputError, UsageError

COMMANDS = {
    "prepare": "check a dataset's own download and build its records once",
    "synthesize": "render crowds with exact keypoints, in COCO's layout",
    "statistics": "people, crowding and occlusion of a dataset: table and plot",
    "pack": "a COCO-format set -> one small file, for training without a dataset",
    "train": "train a network, test it in between, go on by itself after any end",
    "evaluate": "a checkpoint -> its poses and the paper's figures, and a report with pictures",
    "score": "a result file of any system -> the paper's figures, and a report",
    "predict": "images in, poses and drawn pictures out",
    "convert": "a PyTorch, safetensors or npz file -> a checkpoint",
    "export": "a checkpoint -> a PyTorch, safetensors, npz or StableHLO file",
    "complexity": "parameters and multiply-adds of one network or all, beside the paper's",
    "ablations": "the paper's Table 1 in small, on rendered crowds",
    "plan": "a training compiled for a TPU pod that is not there: memory, floors, hours",
    "benchmark": "the figures of the README's performance table",
}


# What brings the modules that a command may miss.
_EXTRAS = {
    "array_record": "data",
    "libtpu": "plan",
    "tensorflow": "data",
    "tensorflow_datasets": "data",
    "torch": "torch",
}


def main() -> None:
    """Runs one command; exits with 2 for a wrong call and 1 for a failure."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # what a terminal cannot show ends no run
            stream.reconfigure(errors="backslashreplace")
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    name, *flags = arguments
    if name not in COMMANDS:
        print(f"pinet-jax: no command {name!r}\n\n{_usage()}", file=sys.stderr)
        sys.exit(2)
    try:
        run(name, flags)
    except InputError as error:
        print(f"pinet-jax {name}: {in_flags(str(error), flags)}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except (RuntimeError, AssertionError):
        line = _without_devices()
        if line is None:
            raise
        print(f"pinet-jax {name}: {line}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print(f"\npinet-jax {name}: stopped", file=sys.stderr)
        sys.exit(130)  # what shells expect of a program stopped by Ctrl-C
    except BrokenPipeError:  # `pinet-jax ... | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run(name: str, flags: Sequence[str]) -> None:
    """Runs a command with its flags.

    Raises:
        InputError: something that the user can mend.
    """
    flags = local_paths(flags)
    module_name = _scores(flags) if name == "evaluate" else name
    try:
        module = importlib.import_module(f"experiments.commands.{module_name}")
        defaults = module.defaults(flags) if hasattr(module, "defaults") else {}
        with getattr(module, "field_types", contextlib.nullcontext)():
            tyro.cli(
                functools.partial(module.main, **defaults),
                prog=f"pinet-jax {name}",
                args=flags,
                config=(tyro.conf.AvoidSubcommands,),
            )
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        extra = _EXTRAS[missing]
        raise InputError(f"needs {missing}; pip install 'pinet-jax[{extra}]'") from error


def _without_devices() -> str | None:
    """Why JAX finds no device; None where it finds one, or was not asked for."""
    if "jax" not in sys.modules:
        return None
    from pinet_jax.runtime import require_devices

    try:
        require_devices()
    except InputError as error:
        return str(error)
    return None


def _scores(flags: Sequence[str]) -> str:
    """The command behind `evaluate`: with --results it is the older spelling of `score`."""
    if given(flags, "--results") is None:
        return "evaluate"
    for flag in ("checkpoint", "config", "dataset", "split", "data-dir", "batch-size",
                 "submission", "distributed"):  # fmt: skip
        if any(word.partition("=")[0] == f"--{flag}" for word in flags):
            raise UsageError(f"--{flag} does not go with --results; leave one out")
    return "score"


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: pinet-jax COMMAND [options]", "", *lines, "", "`COMMAND --help` says more."]
    )


if __name__ == "__main__":
    main()
