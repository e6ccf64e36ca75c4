"""`pinet-jax export`: a checkpoint becomes a file that the reference's code reads."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pinet_jax.checkpoints import load_model
from pinet_jax.errors import UsageError
from pinet_jax.interop.model_files import write_model_file
from pinet_jax.interop.weight_files import TORCH_SUFFIXES

_SUFFIXES = {"npz": (".npz",), "safetensors": (".safetensors",), "torch": TORCH_SUFFIXES}


def main(
    *,
    checkpoint: str,
    format: Literal["npz", "torch", "safetensors"],
    out: str,
    half: bool = False,
) -> None:
    """Writes a checkpoint's weights under the reference's names.

    A safetensors file also says what network it is: the other commands take it as a checkpoint.

    Args:
        checkpoint: a folder that `convert` or `train` made.
        format: of the file.
        out: the file; its suffix must be the format's own.
        half: float16, half the size.
    """
    if Path(out).suffix not in _SUFFIXES[format]:
        raise UsageError(f"--out {out}: a {format} file ends in {' or '.join(_SUFFIXES[format])}")
    write_model_file(out, *load_model(checkpoint), half=half)
    print(f"{out}: the weights of {checkpoint}")
