"""Writes networks as programs that `interop.stablehlo` runs without this package.

Legend for shapes: B frames of H x W pixels.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from jax import export

from pinet_jax.errors import UsageError
from pinet_jax.files import replaced_whole
from pinet_jax.frames import FrameBatch
from pinet_jax.inference import infer
from pinet_jax.interop.stablehlo import (
    FORMAT,
    METADATA,
    SEPARATOR,
    VARIABLES,
    input_shapes,
    program_name,
)
from pinet_jax.methods.base import BottomUpInference, InferenceConfig, Method
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.initializers import Variables
from pinet_jax.runtime import compiler_options

Platform = Literal["cpu", "cuda", "tpu"]
PLATFORMS: tuple[Platform, ...] = ("cpu", "cuda", "tpu")

_WHOLE_IMAGE = (
    "The whole image, RGB, bilinearly warped into the frame about its centre with its proportions "
    "kept; black beside it. With the image's height h and width w and the frame's H and W: "
    "s = W / w if w < h else H / h; x' = s * (x - floor(w / 2 + 0.5)) + W / 2, and y' likewise. "
    "H and W are multiples of 64, and the image's short side lies on theirs."
)
_BOX = (
    "A frame for every person's box, RGB, bilinearly warped: the box about its centre, enlarged "
    "to the frame's proportions and then by 1.25; x' = s * (x - centre) + W / 2, and y' likewise."
)
_AFTER_BOX = (
    "Multiply scores by those of the boxes, then drop of an image's poses those whose OKS with a "
    "better one is above `oks_threshold`."
)


def write_program_file(
    path: str | Path,
    method: Method,
    variables: Variables,
    inference: InferenceConfig,
    *,
    sizes: Sequence[tuple[int, int]] = (),
    platforms: Sequence[str] = PLATFORMS,
    batch_size: int | None = None,
) -> None:
    """Writes the whole test procedure, uint8 frames to fused poses.

    Args:
        path: the file.
        method: the method.
        variables: of its network, not folded.
        inference: the test procedure.
        sizes: height and width of frames at scale 1, whose short side takes the place of the
            procedure's `input_size`; by default the one that a square image has.
        platforms: cpu, cuda, tpu.
        batch_size: frames of a call; any number if None.

    Raises:
        UsageError: a size is none of the method's.
        InputError: the file cannot be written.
    """
    procedures = _procedures(method, inference, sizes)
    folded = fold_batch_norm(variables)
    arrays: dict[str, Any] = dict(_named(folded))
    programs = {}
    for platform in platforms:
        for shapes, own in procedures.items():
            name = program_name(platform, shapes)
            exported = _export(method, own, folded, shapes, platform, batch_size)
            arrays[name] = np.frombuffer(exported.mlir_module_serialized, np.uint8)
            programs[name] = _calling_convention(exported, shapes)
    metadata = metadata_of(method, inference, list(procedures), platforms, batch_size)
    metadata["programs"] = programs
    arrays[METADATA] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    with replaced_whole(path) as partial, partial.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays)


def metadata_of(
    method: Method,
    inference: InferenceConfig,
    frame_sizes: Sequence[Sequence[tuple[int, int]]],
    platforms: Sequence[str],
    batch_size: int | None,
) -> dict[str, Any]:
    """What whoever runs the programs has to know, for JSON."""
    skeleton = method.skeleton
    return {
        "format": FORMAT,
        "method": type(method).__name__,
        "keypoints": list(skeleton.keypoints),
        "sigmas": list(skeleton.sigmas),
        "stages": list(method.stages),
        "platforms": list(platforms),
        "frame_sizes": [[list(shape) for shape in shapes] for shapes in frame_sizes],
        "scales": list(getattr(inference, "scales", (1.0,))),
        "oks_threshold": getattr(inference, "oks_threshold", None),
        "batch_size": batch_size,
        "pixels": "uint8 [B, H, W, 3], RGB, one array a test scale",
        "frame": _BOX if method.needs_boxes else _WHOLE_IMAGE,
        "afterwards": _AFTER_BOX if method.needs_boxes else "",
        "compiler_options": {"cpu": compiler_options("cpu")},
    }


def _procedures(
    method: Method, inference: InferenceConfig, sizes: Sequence[tuple[int, int]]
) -> dict[tuple[tuple[int, int], ...], InferenceConfig]:
    """The test procedure of every size, by the frames' shapes at all test scales.

    Raises:
        UsageError: a size is none that an image can have.
    """
    if not sizes:
        return {method.frame_shapes((512, 512), inference): inference}
    found = {}
    for size in sizes:
        own, first = inference, 0
        if isinstance(inference, BottomUpInference):
            own = dataclasses.replace(inference, input_size=min(size))
            first = inference.scales.index(1.0)
        shapes = method.frame_shapes(size, own)
        if shapes[first] != tuple(size):
            nearest = " ".join(map(str, shapes[first]))
            raise UsageError(f"--sizes {size[0]} {size[1]}: no frame has it; try {nearest}")
        found[shapes] = own
    return found


def _named(variables: dict[str, Any], prefix: str = VARIABLES) -> Iterator[tuple[str, np.ndarray]]:
    for name, value in variables.items():
        if isinstance(value, dict):
            yield from _named(value, f"{prefix}{name}{SEPARATOR}")
        else:
            yield prefix + name, np.asarray(value)


def _export(
    method: Method,
    inference: InferenceConfig,
    folded: Variables,
    shapes: Sequence[tuple[int, int]],
    platform: str,
    batch_size: int | None,
) -> export.Exported:
    def program(variables: Variables, pixels: list[jax.Array], matrix: jax.Array) -> Any:
        stages = infer(method, inference, variables, FrameBatch(tuple(pixels), matrix))
        return {name: poses._asdict() for name, poses in stages.items()}

    inputs = input_shapes(folded, shapes, batch_size)
    return export.export(jax.jit(program), platforms=[platform])(*inputs)


def _calling_convention(
    exported: export.Exported, frames: Sequence[tuple[int, int]]
) -> dict[str, Any]:
    """What `interop.stablehlo` has to know to call a program."""
    outputs = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    return {
        "platform": exported.platforms[0],
        "frames": [list(shape) for shape in frames],
        "outputs": {
            stage: {field: (list(x.shape[1:]), x.dtype.name) for field, x in fields.items()}
            for stage, fields in outputs.items()
        },
        "kept_inputs": list(exported.module_kept_var_idx),  # of all arrays, in JAX's order
        "calling_convention_version": exported.calling_convention_version,
    }
