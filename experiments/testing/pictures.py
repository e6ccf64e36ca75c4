"""Pictures and videos of a user: what is to be done with each, looked at before the slow part."""

from __future__ import annotations

import collections
import dataclasses
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from tqdm import tqdm

from pinet_jax.errors import InputError, UsageError
from pinet_jax.frames import check_proportions
from pinet_jax.image_folders import distinct_names, find_images
from pinet_jax.images import image_size
from pinet_jax.video_files import DRAWN_SUFFIX, VIDEO_SUFFIXES, VideoReader, looks_like_video

_JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}


@dataclasses.dataclass(frozen=True)
class Task:
    """One picture or video to do.

    Attributes:
        source: its file.
        image_id: what poses.json calls it.
        drawing: where the drawn one goes.
        shape: its (H, W).
    """

    source: Path
    image_id: str
    drawing: Path
    shape: tuple[int, int]

    @property
    def is_video(self) -> bool:
        """Whether it has many frames."""
        return _is_video(self.source)


def plan(paths: Iterable[Path], out: Path) -> tuple[list[Task], int]:
    """Looks at every input.

    Args:
        paths: files and folders, as the user gave them.
        out: the output folder; made here.

    Returns:
        What is to be done, in the user's order, and how many inputs were reported as unusable.

    Raises:
        InputError: the output would replace one of them.
    """
    sources, failures = [], 0
    for path in paths:
        try:
            sources += find_images([path], also=looks_like_video)
        except InputError as error:
            failures += report(error)
    shapes = {}
    for source in find_images(sources):
        try:
            shapes[source] = _shape(source)
        except InputError as error:
            failures += report(error)
    names = distinct_names(list(shapes))
    drawings = [out / name for name in drawing_names(list(shapes))]
    tasks = [
        Task(source, name, drawing, shape)
        for (source, shape), name, drawing in zip(shapes.items(), names, drawings, strict=True)
    ]
    _check_output(out, tasks)
    return tasks, failures


def drawing_names(sources: Sequence[Path]) -> list[str]:
    """A name for every drawn picture, no two alike even where case does not count.

    The picture's own, `.jpg` for JPEGs, `.mp4` for videos and `.png` for all else; where that is
    shared, the folder's name comes before it, and a number behind it if need be.
    """

    def plain(source: Path) -> str:
        if _is_video(source):
            return source.stem + DRAWN_SUFFIX
        return source.stem + (".jpg" if source.suffix.lower() in _JPEG_SUFFIXES else ".png")

    shared = collections.Counter(plain(source).lower() for source in sources)
    taken = {name for name, count in shared.items() if count == 1}
    names = []
    for source in sources:
        name = plain(source)
        if shared[name.lower()] > 1:
            name = f"{source.absolute().parent.name}_{name}"
            stem, suffix = os.path.splitext(name)
            number = 2
            while name.lower() in taken:
                name, number = f"{stem}_{number}{suffix}", number + 1
            taken.add(name.lower())
        names.append(name)
    return names


def report(error: InputError) -> int:
    """One line for one input, above the progress bar; counts as one failure."""
    tqdm.write(f"pinet-jax predict: {error}", file=sys.stderr)
    return 1


def _is_video(source: Path) -> bool:
    return source.suffix.lower() in VIDEO_SUFFIXES


def _shape(source: Path) -> tuple[int, int]:
    if _is_video(source):
        with VideoReader(source) as video:
            shape = video.shape
    else:
        shape = image_size(source)
    check_proportions(shape, str(source))
    return shape


def _check_output(out: Path, tasks: Sequence[Task]) -> None:
    """Makes the folder; raises InputError where a drawn picture would replace an input."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made ({error.strerror})") from error
    sources = {task.source.resolve() for task in tasks}
    for task in tasks:
        if task.drawing.resolve() in sources:
            raise UsageError(f"--out {out}: would replace the input {task.drawing}; name another")
