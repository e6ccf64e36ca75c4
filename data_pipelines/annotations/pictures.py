"""One image of a file: what can be wrong with its record, and with the picture it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data_pipelines.annotations.json_values import Problem, numbers, shown, whole
from data_pipelines.annotations.reading import Exif
from pinet_jax.errors import InputError

if TYPE_CHECKING:
    from pinet_jax.images import Header


def image_problems(image: dict[str, Any], *, has_picture: bool) -> Iterator[Problem]:
    """What is wrong with a record.

    Args:
        image: the record, a JSON object.
        has_picture: whether its picture is asked for, so that its name and size must be there.
    """
    name = image.get("file_name")
    if name is not None or has_picture:
        if not isinstance(name, str) or not _is_file_name(name):
            yield Problem("no usable file_name", shown(name))
        elif _leaves_folder(name):
            yield Problem("path leaves the image folder", shown(name))
    for field in ("width", "height"):
        pixels = whole(image.get(field))
        wrong = pixels is None or pixels <= 0
        if wrong and (field in image or has_picture):
            yield Problem(f"{field} is no positive whole number", shown(image.get(field)))
    if "crowdIndex" in image:
        index = numbers([image["crowdIndex"]])
        if index is None or not np.isfinite(index).all():
            yield Problem("crowdIndex is no finite number", shown(image["crowdIndex"]))


class PictureCheck(NamedTuple):
    """What was found of a picture.

    Attributes:
        problem: what is wrong with it, or None.
        turned: whether EXIF asks to turn it.
    """

    problem: Problem | None
    turned: bool = False


def check_picture(
    folder: Path, image: dict[str, Any], exif: Exif | None, *, decode: bool
) -> PictureCheck:
    """Looks at the picture of a sound record; decoding finds out whether it is whole.

    Args:
        folder: of the pictures.
        image: the record.
        exif: which of its sizes the record must state; either, if None.
        decode: whether it is decoded, too.
    """
    from pinet_jax.images import check_image, read_header  # figures alone need no OpenCV

    path = folder / image["file_name"]
    if not path.is_file():
        return PictureCheck(Problem("missing image", str(path)))
    try:
        header = read_header(path)
        problem = _size_problem(image, header, exif, path)
        if decode and problem is None:
            check_image(path)
    except InputError as error:
        return PictureCheck(Problem("broken image", str(error)))
    return PictureCheck(problem, header.orientation != 1)


def _size_problem(
    image: dict[str, Any], header: Header, exif: Exif | None, path: Path
) -> Problem | None:
    sizes = {"stored": header.stored, "upright": header.upright}
    stated = (int(image["height"]), int(image["width"]))
    if stated in (sizes.values() if exif is None else (sizes[exif],)):
        return None
    there = header.stored if exif is None else sizes[exif]
    detail = f"{_size(stated)} stated, {_size(there)} in {path}"
    other = next((rule for rule, size in sizes.items() if size == stated), None)
    if other:
        detail += f", whose EXIF orientation is {header.orientation}: it fits --exif {other}"
    return Problem("image size differs from the file", detail)


def _size(shape: tuple[int, int]) -> str:
    return f"{shape[1]} x {shape[0]}"


def _is_file_name(name: str) -> bool:
    if not name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _leaves_folder(name: str) -> bool:
    """Whether a file name could lead elsewhere, read the Unix or the Windows way."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)
