"""`pinet-jax export`: a checkpoint becomes a file for the reference's code, or a program."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pinet_jax.checkpoints import load_model
from pinet_jax.errors import UsageError
from pinet_jax.interop.model_files import write_model_file
from pinet_jax.interop.stablehlo_writer import PLATFORMS, Platform, write_program_file
from pinet_jax.interop.weight_files import TORCH_SUFFIXES

_SUFFIXES = {
    "npz": (".npz",),
    "safetensors": (".safetensors",),
    "torch": TORCH_SUFFIXES,
    "stablehlo": (".stablehlo",),
}


def main(
    *,
    checkpoint: str,
    format: Literal["npz", "torch", "safetensors", "stablehlo"],
    out: str,
    half: bool = False,
    platforms: tuple[Platform, ...] = PLATFORMS,
    sizes: tuple[tuple[int, int], ...] = (),
    batch_size: int | None = None,
) -> None:
    """Writes a checkpoint's weights under the reference's names, or its whole test procedure.

    A safetensors file also says what network it is: the other commands take it as a checkpoint. A
    stablehlo file holds the program from uint8 frames to poses, and `pinet_jax.interop.stablehlo`
    runs it with JAX and NumPy alone.

    Example: pinet-jax export --checkpoint runs/ochuman --format torch --out ochuman.pth

    Args:
        checkpoint: a folder that `convert` or `train` made.
        format: of the file.
        out: the file; its suffix must be the format's own.
        half: float16, half the size; of weights alone.
        platforms: that a stablehlo file has programs for.
        sizes: heights and widths of a stablehlo file's frames, two numbers each; by default that of
            a square image, or of a person's crop.
        batch_size: frames of a call of a stablehlo file; by default any number.
    """
    if half and format == "stablehlo":
        raise UsageError("--half does not go with --format stablehlo; leave one out")
    if Path(out).suffix not in _SUFFIXES[format]:
        raise UsageError(f"--out {out}: a {format} file ends in {' or '.join(_SUFFIXES[format])}")
    model = load_model(checkpoint)
    if format != "stablehlo":
        write_model_file(out, *model, half=half)
        print(f"{out}: the weights of {checkpoint}")
        return
    write_program_file(out, *model, sizes=sizes, platforms=platforms, batch_size=batch_size)
    print(f"{out}: the program of {checkpoint}, for {', '.join(platforms)}")
