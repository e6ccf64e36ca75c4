"""A whole network as one file: weights under the released names, the config in the header."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.interop.state_dict import from_state_dict, to_state_dict
from pinet_jax.interop.weight_files import read_arrays, read_metadata, write_arrays
from pinet_jax.methods import config_from_json, config_to_json
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.networks.initializers import Variables

_CONFIG = "config"
_OLD_CONFIG = "pinet_config"  # in files of before there were several methods


class Model(NamedTuple):
    """A network that is done.

    Attributes:
        method: the method.
        variables: of its network, NumPy arrays.
        inference: how it is to be tested; the method's default where its file is silent.
    """

    method: Method
    variables: Variables
    inference: InferenceConfig


def write_model_file(
    path: str | Path,
    method: Method,
    variables: Variables,
    inference: InferenceConfig | None = None,
    *,
    half: bool = False,
) -> None:
    """Writes a file with the released names; a safetensors file has the config in its header.

    Args:
        path: .safetensors, .npz, .pth or .pt.
        method: the method.
        variables: of its network, not folded.
        inference: how it is to be tested; the method's default if None.
        half: float16, half the size.

    Raises:
        InputError: the suffix is of no known kind, or the file cannot be written.
    """
    arrays = to_state_dict(variables, method)
    if half:
        arrays = {
            name: array.astype(np.float16) if array.dtype == np.float32 else array
            for name, array in arrays.items()
        }
    config = config_to_json(method, inference or method.inference_type())
    write_arrays(path, arrays, {_CONFIG: json.dumps(config)})


def read_model_file(path: str | Path, method: Method | None = None) -> Model:
    """Reads a safetensors file of `write_model_file`.

    Args:
        path: the file.
        method: whose network it must hold; by default the header says it.

    Raises:
        InputError: the file is broken, holds another network, or does not say which.
    """
    arrays = read_arrays(path)
    method, inference = read_model_config(path, method)
    return Model(method, from_state_dict(arrays, method, where=str(path)), inference)


def names_network(path: str | Path) -> bool:
    """Whether a safetensors file says what network it is.

    Raises:
        InputError: it is broken.
    """
    return not read_metadata(path).keys().isdisjoint((_CONFIG, _OLD_CONFIG))


def read_model_config(
    path: str | Path, method: Method | None = None
) -> tuple[Method, InferenceConfig]:
    """As `read_model_file`, without the weights."""
    header = read_metadata(path)
    stored = header.get(_CONFIG, header.get(_OLD_CONFIG))
    if stored is not None:
        return config_from_json(json.loads(stored), str(path), method)
    if method is None:
        raise InputError(f"{path}: does not say what network it is; `convert` it with its config")
    return method, method.inference_type()
