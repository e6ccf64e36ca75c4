"""Normalisations folded into the layers before them: the same network at inference, and faster."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.layers import BATCH_NORM_EPSILON


def fold_batch_norm(variables: Variables) -> Variables:
    """The variables of the same network made with `Compute(folded=True)`.

    Args:
        variables: "params" and, if any, "batch_stats" of a network that is not folded; not
            changed.

    Returns:
        float32 NumPy arrays under "params" alone.
    """
    return {"params": _fold(variables["params"], variables.get("batch_stats", {}))}


def _fold(params: dict[str, Any], statistics: dict[str, Any]) -> dict[str, Any]:
    folded = dict(params)
    for name, inner in statistics.items():
        if "var" not in inner:
            folded[name] = _fold(params[name], inner)
            continue
        before = _layer_before(name, params)
        folded[before] = _fold_layer(params[before], folded.pop(name), inner)
    return folded


# EfficientNet's published names; its stem and its expansions have a normalisation of one name.
_EFFICIENTNET = {
    "_bn0": ("_expand_conv", "_conv_stem"),
    "_bn1": ("_depthwise_conv",),
    "_bn2": ("_project_conv",),
}


def _layer_before(norm: str, params: dict[str, Any]) -> str:
    """The layer that a normalisation follows: bn1 -> conv1, bn -> conv, downsample.1 -> .0."""
    if norm in _EFFICIENTNET:
        return next(layer for layer in _EFFICIENTNET[norm] if layer in params)
    if norm.startswith("bn"):
        return norm.replace("bn", "conv")
    return re.sub(r"\d+$", lambda number: str(int(number[0]) - 1), norm)


def _fold_layer(
    layer: dict[str, Any], norm: dict[str, Any], statistics: dict[str, Any]
) -> dict[str, np.ndarray]:
    """Output channels are the last axis, but of transposed convolutions the last but one."""
    layer, norm, statistics = (
        {name: np.asarray(array, np.float64) for name, array in arrays.items()}
        for arrays in (layer, norm, statistics)
    )
    scale = norm["scale"] / np.sqrt(statistics["var"] + BATCH_NORM_EPSILON)
    bias = (layer.pop("bias", 0.0) - statistics["mean"]) * scale + norm["bias"]
    folded = {  # its kernel or weight
        name: array * (scale[:, None] if name == "transposed_kernel" else scale)
        for name, array in layer.items()
    }
    return {name: array.astype(np.float32) for name, array in (folded | {"bias": bias}).items()}
