"""Files of named arrays: PyTorch's, safetensors and NumPy's.

Nothing that a file holds is ever run: PyTorch's files are read with `weights_only`, NumPy's
without pickle.
"""

from __future__ import annotations

import argparse
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy._core import multiarray as _numpy

from pinet_jax.errors import InputError
from pinet_jax.files import replaced_whole
from pinet_jax.interop.state_dict import strip_wrappers

TORCH_SUFFIXES = (".pth", ".pt", ".tar")  # of ".pth.tar", too


def read_arrays(path: str | Path) -> dict[str, np.ndarray]:
    """The state dict of a file, without wrappers and prefixes.

    Args:
        path: .pth, .pt, .pth.tar, .safetensors or .npz.

    Raises:
        InputError: the file is absent, of another kind, broken, or holds more than arrays.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.suffix in TORCH_SUFFIXES:
        return _read_torch(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    if path.suffix == ".npz":
        return _read_npz(path)
    raise InputError(f"{path}: not a weight file; use .pth, .pth.tar, .safetensors or .npz")


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts in a safetensors file's header, by name.

    Raises:
        InputError: the file is absent or broken.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return file.metadata() or {}
    except (safetensors.SafetensorError, OSError) as error:
        raise _unreadable_safetensors(path, error) from error


def write_arrays(
    path: str | Path,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Writes a file that `read_arrays` reads back exactly; the suffix says which kind.

    The file appears whole or not at all.

    Args:
        path: .pth, .pt, .pth.tar, .safetensors or .npz.
        arrays: by name.
        metadata: texts for the header of a safetensors file; the other kinds have no place for it.

    Raises:
        InputError: the suffix is of no known kind, torch is needed and not installed, or the file
            cannot be written.
    """
    path = Path(path)
    contiguous = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    with replaced_whole(path) as partial, open(partial, "wb") as file:
        if path.suffix == ".npz":
            np.savez(file, allow_pickle=False, **contiguous)
        elif path.suffix == ".safetensors":
            file.write(safetensors.numpy.save(contiguous, metadata=dict(metadata)))
        elif path.suffix in TORCH_SUFFIXES:
            torch = _import_torch(path)
            torch.save({n: torch.from_numpy(a.copy()) for n, a in contiguous.items()}, file)
        else:
            raise InputError(f"{path}: write to .pth, .safetensors or .npz")


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    torch = _import_torch(path)
    try:
        with torch.serialization.safe_globals(_plain_types()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its unpickler meets
        raise InputError(
            f"{path}: not a PyTorch file of plain tensors ({_reason(error)}); save its state dict "
            "alone"
        ) from error
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds a {type(content).__name__}, not a state dict")
    state = strip_wrappers(content)
    strange = [name for name, value in state.items() if not isinstance(value, torch.Tensor)]
    if strange:
        raise InputError(f"{path}: not a state dict, {strange[0]!r} is no tensor")
    # float32 first: NumPy knows no bfloat16
    return {n: (v.float() if v.is_floating_point() else v).numpy() for n, v in state.items()}


def _plain_types() -> list[Any]:
    """What training scripts keep beside tensors, and what nothing can be run with.

    NumPy's numbers and arrays are pickled under its present name or the one before version 2.
    """
    dtypes = [type(np.dtype(kind)) for kind in "?bhilqBHILQefd"]
    numbers = [
        (function, f"numpy.{core}.multiarray.{name}")
        for core in ("core", "_core")
        for name, function in (("scalar", _numpy.scalar), ("_reconstruct", _numpy._reconstruct))
    ]
    return [*numbers, np.dtype, np.ndarray, *dtypes, argparse.Namespace]


def _reason(error: Exception) -> str:
    """What torch says, on one line and without colours: what it met, where it says that."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    met = re.search(r"Unsupported \w+: (?:GLOBAL )?([\w.]+)", text)
    if met:
        return f"it holds a {met[1]}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    try:
        return strip_wrappers(safetensors.numpy.load_file(path))
    except (safetensors.SafetensorError, OSError, ValueError, KeyError) as error:
        raise _unreadable_safetensors(path, error) from error


def _unreadable_safetensors(path: str | Path, error: Exception) -> InputError:
    return InputError(f"{path}: not a readable safetensors file ({error})")


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            return strip_wrappers({name: arrays[name] for name in arrays.files})
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a readable npz file of plain arrays ({error})") from error


def _import_torch(path: Path) -> Any:
    try:
        import torch
    except ImportError as error:
        raise InputError(f"{path}: needs torch; pip install 'pinet-jax[torch]'") from error
    return torch
