"""`pinet-jax convert`: weights from elsewhere become a checkpoint."""

from __future__ import annotations

from typing import Annotated

import tyro

from experiments.configs import load_config
from pinet_jax.checkpoints import save_model
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.interop.weight_files import read_arrays


def main(file: Annotated[str, tyro.conf.Positional], *, config: str, out: str) -> None:
    """Makes a checkpoint of a file with the reference's names.

    Args:
        file: .pth, .pth.tar, .safetensors or .npz.
        config: the network it belongs to: ochuman, crowdpose, coco, or a Python file of your own.
        out: the checkpoint's folder, a new one.
    """
    experiment = load_config(config)
    variables = from_state_dict(read_arrays(file), experiment.model, where=file)
    save_model(out, experiment.model, variables, experiment.inference)
    print(f"{out}: the weights of {file}, with the config {config}")
