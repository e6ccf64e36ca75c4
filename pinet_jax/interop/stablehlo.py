"""Networks as programs in StableHLO that run without this package: JAX and NumPy are enough.

A file holds, in NumPy's npz format, the folded variables, a program a platform and frame size as
portable StableHLO bytecode, and metadata as JSON. `stablehlo_writer` makes it. This module imports
nothing of the package but its errors, and may be copied elsewhere with them.

Legend for shapes: B frames of H x W pixels, N poses (padded), K keypoints.
"""

from __future__ import annotations

import dataclasses
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from pinet_jax.errors import InputError

VARIABLES = "variables/"  # before the path of each variable
PROGRAMS = "program/"  # before platform and frame size of each
METADATA = "metadata"
FORMAT = 1  # of these files; a later one may hold what this module does not know
SEPARATOR = "/"


class StableHLOPredictor:
    """A network of a file, ready for frames of the sizes that the file has.

    Attributes:
        metadata: what `stablehlo_writer.metadata_of` states: keypoint names, frame sizes, how
            images become frames, and what is to be done with the poses.
    """

    def __init__(
        self, metadata: dict[str, Any], variables: dict[str, Any], programs: dict[str, bytes]
    ) -> None:
        """Notes what a file holds; every program is compiled when it is first called."""
        self.metadata = metadata
        self._variables, self._programs = jax.device_put(variables), programs
        self._compiled: dict[str, Callable[..., Any]] = {}

    def __call__(
        self, *pixels: np.ndarray, matrix: np.ndarray | None = None
    ) -> dict[str, dict[str, np.ndarray]]:
        """Network, decoding, refinement or grouping, and fusion, of a batch of frames.

        Args:
            *pixels: for every test scale uint8 [B, H, W, 3], RGB.
            matrix: float32 [B, 2, 3], from (x, y, 1) of images to (x, y) of frames; by default
                the identity. Results are in frame pixels; some methods need it all the same.

        Returns:
            By stage: keypoints float32 [B, N, K, 3], x and y in frame pixels and score; scores
            float32 [B, N]; mask bool [B, N], False for padding.

        Raises:
            InputError: they are no frames, or the file has no program for them on this platform.
        """
        for x in pixels:
            if x.dtype != np.uint8 or x.ndim != 4 or x.shape[-1] != 3:
                raise InputError(f"frames are {x.dtype} {list(x.shape)}; give uint8 [B, H, W, 3]")
        if not pixels:
            raise InputError("no frames; give an array for every test scale")
        if matrix is None:
            matrix = np.broadcast_to(np.eye(2, 3, dtype=np.float32), (len(pixels[0]), 2, 3))
        name = program_name(jax.default_backend(), [x.shape[1:3] for x in pixels])
        run = self._program(name, len(pixels[0]))
        return jax.device_get(run(self._variables, list(pixels), matrix.astype(np.float32)))

    def _program(self, name: str, count: int) -> Callable[..., Any]:
        if name not in self._programs:
            own = [known.removeprefix(PROGRAMS) for known in self._programs]
            raise InputError(
                f"there is no program for {name.removeprefix(PROGRAMS)}, only for {', '.join(own)}"
            )
        fixed = self.metadata["batch_size"]
        if fixed is not None and count != fixed:
            raise InputError(f"a batch of {count}: the program takes {fixed} frames at a time")
        if name not in self._compiled:
            run = self._exported(name).call
            options = self.metadata["compiler_options"].get(jax.default_backend())
            self._compiled[name] = jax.jit(run, compiler_options=options)
        return self._compiled[name]

    def _exported(self, name: str) -> export.Exported:
        """What JAX calls a program by: that of a blank function, with the file's code in its place.

        JAX's own format for it needs a package beside JAX, and other runtimes do not read it.
        """
        about = self.metadata["programs"][name]

        def blank(variables: Any, pixels: Sequence[jax.Array], matrix: jax.Array) -> Any:
            del variables, matrix
            count = pixels[0].shape[0]
            return {
                stage: {
                    field: jnp.zeros((count, *shape), dtype)
                    for field, (shape, dtype) in fields.items()
                }
                for stage, fields in about["outputs"].items()
            }

        inputs = input_shapes(self._variables, about["frames"], self.metadata["batch_size"])
        exported = export.export(jax.jit(blank), platforms=[about["platform"]])(*inputs)
        return dataclasses.replace(
            exported,
            mlir_module_serialized=self._programs[name],
            module_kept_var_idx=tuple(about["kept_inputs"]),
            calling_convention_version=about["calling_convention_version"],
        )


def input_shapes(
    variables: Any, frames: Sequence[Sequence[int]], batch_size: int | None
) -> tuple[Any, ...]:
    """What a program takes: variables, pixels at every test scale, and matrices.

    Args:
        variables: a tree of arrays.
        frames: height and width at every test scale.
        batch_size: B; any number if None.
    """
    b = export.symbolic_shape("b")[0] if batch_size is None else batch_size
    arrays = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), variables)
    pixels = [jax.ShapeDtypeStruct((b, *shape, 3), np.uint8) for shape in frames]
    return arrays, pixels, jax.ShapeDtypeStruct((b, 2, 3), np.float32)


def program_name(platform: str, shapes: Sequence[Sequence[int]]) -> str:
    """What a file calls a program.

    Args:
        platform: cpu, cuda or tpu; JAX's "gpu" is cuda.
        shapes: height and width of the frames at every test scale.
    """
    sizes = "+".join(f"{height}x{width}" for height, width in shapes)
    return f"{PROGRAMS}{'cuda' if platform == 'gpu' else platform}/{sizes}"


def load(path: str | Path) -> StableHLOPredictor:
    """Reads a file of `pinet-jax export --format stablehlo`.

    Raises:
        InputError: it cannot be read, or is no such file.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            content = {name: file[name] for name in file.files}
        metadata = json.loads(content.pop(METADATA).tobytes())
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"{path}: no file of `pinet-jax export --format stablehlo` ({error})"
        ) from error
    if metadata.get("format", FORMAT) > FORMAT:
        raise InputError(f"{path}: made by a newer pinet-jax than this one; update this one")
    variables: dict[str, Any] = {}
    for name in [name for name in content if name.startswith(VARIABLES)]:
        *folders, leaf = name.removeprefix(VARIABLES).split(SEPARATOR)
        place = variables
        for folder in folders:
            place = place.setdefault(folder, {})
        place[leaf] = content.pop(name)
    programs = {name: array.tobytes() for name, array in content.items()}
    return StableHLOPredictor(metadata, variables, programs)
