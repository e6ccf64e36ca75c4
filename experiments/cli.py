"""`pinet-jax COMMAND ...`: the one entry point.

Every command is the `main` function of a module of this package, imported only when it is called,
so that `predict` never waits for TensorFlow.
"""

from __future__ import annotations

import importlib
import os
import sys

import tyro

from pinet_jax.errors import InputError, UsageError

COMMANDS = {
    "prepare": "check a dataset's own download and build its records once",
    "synthesize": "render crowds with exact keypoints, in COCO's layout",
    "statistics": "people, crowding and occlusion of a dataset: table and plot",
    "train": "train a network, test it in between, go on by itself after any end",
    "evaluate": "a checkpoint or a result file -> the paper's figures, and a report with pictures",
    "predict": "images in, poses and drawn pictures out",
    "convert": "a PyTorch, safetensors or npz file -> a checkpoint",
    "export": "a checkpoint -> a PyTorch, safetensors or npz file",
    "complexity": "parameters and multiply-adds of a network, beside the paper's",
    "ablations": "the paper's Table 1 in small, on rendered crowds",
    "benchmark": "the figures of the README's performance table",
}


# What brings the modules that a command may miss.
_EXTRAS = {
    "array_record": "data",
    "matplotlib": "data",
    "tensorflow": "data",
    "tensorflow_datasets": "data",
    "torch": "torch",
}


def main() -> None:
    """Runs one command; exits with 2 for a wrong call and 1 for a failure."""
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return
    if arguments[0] not in COMMANDS:
        print(f"pinet-jax: no command {arguments[0]!r}\n\n{_usage()}", file=sys.stderr)
        sys.exit(2)
    try:
        _run(arguments[0], arguments[1:])
    except InputError as error:
        print(f"pinet-jax {arguments[0]}: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, UsageError) else 1)
    except KeyboardInterrupt:
        print(f"\npinet-jax {arguments[0]}: stopped", file=sys.stderr)
        sys.exit(130)  # what shells expect of a program stopped by Ctrl-C
    except BrokenPipeError:  # `pinet-jax ... | head` is no failure
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _run(name: str, arguments: list[str]) -> None:
    try:
        module = importlib.import_module(f"experiments.commands.{name}")
        if hasattr(module, "run"):  # its flags depend on what it is called with
            module.run(arguments)
        else:
            tyro.cli(
                module.main,
                prog=f"pinet-jax {name}",
                args=arguments,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in _EXTRAS:
            raise
        extra = _EXTRAS[missing]
        raise InputError(f"needs {missing}; pip install 'pinet-jax[{extra}]'") from error


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {text}" for name, text in COMMANDS.items()]
    return "\n".join(
        ["usage: pinet-jax COMMAND [options]", "", *lines, "", "`COMMAND --help` says more."]
    )


if __name__ == "__main__":
    main()
