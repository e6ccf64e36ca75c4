"""One image of a file: what can be wrong with its record, and with the picture it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.annotations.json_values import Problem, numbers, shown, whole


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


def picture_problems(folder: Path, image: dict[str, Any], *, decode: bool) -> Iterator[Problem]:
    """What is wrong with the picture of a sound record; decoding finds out whether it is whole."""
    path = folder / image["file_name"]
    if not path.is_file():
        yield Problem("missing image", str(path))
        return
    if not decode:
        return
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as picture:
            if picture.size != (image["width"], image["height"]):
                stated = f"{image['width']} x {image['height']}"
                there = f"{picture.width} x {picture.height}"
                detail = f"{stated} stated, {there} in {path}"
                yield Problem("image size differs from the file", detail)
            picture.draft("RGB", (1, 1))  # all of a JPEG is read, an eighth of its size computed
            picture.load()
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        yield Problem("broken image", f"{path}: {error}".replace("\n", " "))


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
