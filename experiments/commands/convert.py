"""`pinet-jax convert`: weights from elsewhere become a checkpoint."""

from __future__ import annotations

import functools
import operator
from typing import Annotated

import tyro

from experiments.configs import load_config
from pinet_jax.checkpoints import save_model
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.interop.weight_files import read_arrays


def main(
    file: Annotated[str, tyro.conf.Positional],
    *,
    config: str,
    out: str,
    also: tuple[str, ...] = (),
) -> None:
    """Makes a checkpoint of a file with the reference's names.

    Args:
        file: .pth, .pth.tar, .safetensors or .npz.
        config: the network it belongs to: ochuman, crowdpose, coco, or a Python file of your own.
        out: the checkpoint's folder, a new one.
        also: further files, where the network's layers are in several.
    """
    experiment = load_config(config)
    files = (file, *also)
    names = ", ".join(files)
    state = functools.reduce(operator.or_, map(read_arrays, files))
    variables = from_state_dict(state, experiment.model, where=names)
    save_model(out, experiment.model, variables, experiment.inference)
    print(f"{out}: the weights of {names}, with the config {config}")
