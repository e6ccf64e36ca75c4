"""`pinet-jax convert`: weights from elsewhere become a checkpoint."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from typing import Annotated, Any

import tyro

from experiments.commands.flags import check_new
from experiments.commands.model_flags import named_model
from experiments.configs import load_config
from experiments.configs.field_types import field_types
from pinet_jax.checkpoints import save_model
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.interop.weight_files import read_arrays
from pinet_jax.methods.base import Method

__all__ = ["defaults", "field_types", "main"]


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The network of the named config: every field of it is a flag."""
    return {"model": named_model(arguments)}


def main(
    file: Annotated[str, tyro.conf.Positional],
    *,
    config: str,
    model: Method,
    out: str,
    also: tuple[str, ...] = (),
) -> None:
    """Makes a checkpoint of a file with the reference's names.

    Example: pinet-jax convert model_best.pth.tar --config crowdpose --out crowdpose

    Args:
        file: .pth, .pth.tar, .safetensors or .npz.
        config: the network it belongs to: ochuman, crowdpose, coco, or a Python file of your own.
        model: its fields, each of which can be given another value.
        out: the checkpoint's folder, a new one.
        also: further files, where the network's layers are in several.
    """
    check_new(out)
    files = (file, *also)
    names = ", ".join(files)
    state = functools.reduce(operator.or_, map(read_arrays, files))
    variables = from_state_dict(state, model, where=names)
    save_model(out, model, variables, load_config(config).inference)
    print(f"{out}: the weights of {names}, with the config {config}")
