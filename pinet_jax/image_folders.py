"""The picture files that a user's list of files and folders names, and what they are called."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from pathlib import Path

from PIL import Image

from pinet_jax.errors import InputError
from pinet_jax.images import FORMATS, image_size

# Common on phones and not decoded here: a folder's must be reported, not passed over.
_UNREADABLE_SUFFIXES = {".heic", ".heif"}


def find_images(
    paths: Iterable[str | Path], also: Callable[[Path], bool] | None = None
) -> list[Path]:
    """The picture files that a user's list of files and folders names.

    A file stays in its place whatever it is, so that reading it can say what is wrong. A folder is
    replaced by the pictures directly in it, sorted by name: files that have a picture's suffix
    or begin like a picture. Hidden files and subfolders are passed over. No file comes twice.

    Args:
        paths: files and folders.
        also: says which other files a folder gives; none of them if None.

    Raises:
        InputError: a folder holds no picture, or cannot be read.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        for file in _pictures_in(path, also) if path.is_dir() else [path]:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def distinct_names(files: Sequence[str | PathLike]) -> list[str]:
    """What files are called: by their names, or by their paths where two files share a name."""
    count = Counter(map(os.path.basename, {os.path.abspath(file) for file in files}))
    paths = map(Path, files)
    return [path.name if count[path.name] == 1 else path.as_posix() for path in paths]


def _pictures_in(folder: Path, also: Callable[[Path], bool] | None) -> list[Path]:
    try:
        files = sorted(f for f in folder.iterdir() if f.is_file() and not f.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror})") from error
    pictures = [f for f in files if (also and also(f)) or _looks_like_picture(f)]
    if not pictures:
        raise InputError(f"{folder}: no pictures in this folder (subfolders are not searched)")
    return pictures


def _looks_like_picture(file: Path) -> bool:
    suffixes = {s for s, kind in Image.registered_extensions().items() if kind in FORMATS}
    if file.suffix.lower() in suffixes | _UNREADABLE_SUFFIXES:
        return True
    try:
        image_size(file)
    except InputError:
        return False
    return True
