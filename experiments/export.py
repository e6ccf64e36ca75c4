"""`pinet-jax export`: a checkpoint becomes a file that the reference's code reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pinet_jax.checkpoints import load_model
from pinet_jax.errors import UsageError
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.interop.weight_files import TORCH_SUFFIXES, write_arrays

_SUFFIXES = {"npz": (".npz",), "safetensors": (".safetensors",), "torch": TORCH_SUFFIXES}


def main(*, checkpoint: str, format: Literal["npz", "torch", "safetensors"], out: str) -> None:
    """Writes a checkpoint's weights under the reference's names.

    Args:
        checkpoint: a folder that `convert` or `train` made.
        format: of the file.
        out: the file; its suffix must be the format's own.
    """
    if Path(out).suffix not in _SUFFIXES[format]:
        raise UsageError(f"--out {out}: a {format} file ends in {' or '.join(_SUFFIXES[format])}")
    _, variables = load_model(checkpoint)
    write_arrays(out, to_state_dict(variables))
    print(f"{out}: the weights of {checkpoint}")
