"""`pinet-jax COMMAND ...`: the one entry point.

Every command is a module of `experiments.commands`, imported only when it is called, so that
`predict` never waits for TensorFlow, nor `score` for JAX. Its `main` takes the flags; a function
`defaults` beside it makes defaults of what other flags name, and `field_types` says how values that
are no plain ones are written.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import inspect
import io
import os
import re
import sys
from collections.abc import Sequence

from experiments.commands.flags import given, in_flags, local_paths
from pinet_jax.errors import InputError, UsageError

# By what people do.
COMMAND_GROUPS = {
    "Poses of your own pictures": {
        "predict": "pictures and videos in, poses and drawn ones out",
        "demo": "a page on this machine: drop a photograph, see how its poses come to be",
    },
    "Figures": {
        "evaluate": "a checkpoint -> its poses and the paper's figures, and a report with pictures",
        "score": "a result file of any system -> the paper's figures, and a report",
    },
    "Data": {
        "prepare": "check a dataset's own download and build its records once",
        "pack": "a COCO-format set -> one small file, for training without a dataset",
        "synthesize": "render crowds with exact keypoints, in COCO's layout",
        "statistics": "people, crowding and occlusion of a dataset: table and plot",
    },
    "Training": {
        "train": "train a network, test it in between, go on by itself after any end",
        "rescore": "DEKR's network that scores poses, trained on DEKR's own poses",
        "ablations": "the paper's Table 1 in small, on rendered crowds",
        "comparison": "the paper's systems in small, on rendered crowds",
    },
    "Weights": {
        "convert": "a PyTorch, safetensors or npz file -> a checkpoint",
        "export": "a checkpoint -> a PyTorch, safetensors, npz or StableHLO file",
    },
    "Size and speed": {
        "complexity": "parameters and multiply-adds of one network or all, beside the paper's",
        "plan": "a training compiled for a TPU pod that is not there: memory, floors, hours",
        "benchmark": "the speed of the test procedure, stage by stage",
    },
}
COMMANDS = {name: text for group in COMMAND_GROUPS.values() for name, text in group.items()}


# What brings the modules that a command may miss.
_EXTRAS = {
    "array_record": "data",
    "libtpu": "plan",
    "tensorflow": "data",
    "tensorflow_datasets": "data",
    "torch": "torch",
    "gradio": "demo",
}


def main() -> None:
    """Runs one command; exits with 2 for a wrong call and 1 for a failure."""
    _collect_garbage_rarely()
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
    import tyro  # half of the time that a list of commands would take

    flags = local_paths(flags)
    module_name = _scores(flags) if name == "evaluate" else name
    try:
        module = importlib.import_module(f"experiments.commands.{module_name}")
        module.main.__doc__ = _unwrapped(module.main.__doc__ or "")  # `python -OO` has none
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


def _unwrapped(docstring: str) -> str:
    """Every paragraph and every argument in one line, which help then wraps as wide as it is."""
    return re.sub(r"(?<=\S)\n(?: {8,})?(?=\S)", " ", inspect.cleandoc(docstring))


def _collect_garbage_rarely() -> None:
    """Saves a cold `predict` nearly a second: what imports and tracing make is no garbage."""
    gc.set_threshold(20_000)
    atexit.register(gc.freeze)  # the end of the process frees it all, without a search


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
    lines = ["usage: pinet-jax COMMAND [options]"]
    for title, commands in COMMAND_GROUPS.items():
        lines += ["", f"{title}:"]
        lines += [f"  {name:<{width}}  {text}" for name, text in commands.items()]
    return "\n".join([*lines, "", "`pinet-jax COMMAND --help` says more, with an example."])


if __name__ == "__main__":
    main()
