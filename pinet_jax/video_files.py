"""Video files: upright uint8 RGB frames with their times, and back.

Legend for shapes: H rows, W columns of an upright frame.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

# Before OpenCV's first video: FFmpeg's own lines about a damaged file would be noise.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.files import writing

# What people's cameras and programs write; FFmpeg, which OpenCV reads with, knows them all. It
# would also take a text file for a film of letters, so that the suffix decides.
VIDEO_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
     ".mts", ".ogv", ".ts", ".webm", ".wmv")
)  # fmt: skip
DRAWN_SUFFIX = ".mp4"
_CODEC = "mp4v"  # MPEG-4: OpenCV's wheels write no H.264
_RATE = 25.0  # frames a second, where a file says none
_ATTEMPTS = 100  # frames in a row that fail before a video counts as ended: one may be damaged


class VideoFrame(NamedTuple):
    """One frame.

    Attributes:
        number: its place among those that can be read, from 0 on.
        time: seconds from the start of the video.
        pixels: uint8 [H, W, 3], RGB, upright.
    """

    number: int
    time: float
    pixels: np.ndarray


class VideoReader:
    """A video file that is open.

    Attributes:
        shape: (H, W).
        rate: frames a second.
        count: of the frames, as the file has it; None if it does not say.
        missing: what could not be read, in words, after `frames` has ended; None if nothing.
    """

    def __init__(self, path: str | Path) -> None:
        """Opens it.

        Raises:
            InputError: there is no such file, or it is no video that OpenCV reads.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise InputError(f"{path}: no such file")
        with _quiet_opencv():
            self._capture = cv2.VideoCapture(str(self.path), cv2.CAP_FFMPEG)
        width, height = (
            int(self._capture.get(what))
            for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if not self._capture.isOpened() or min(width, height) < 1:
            raise InputError(
                f"{path}: not a video that OpenCV reads, or one that is cut short; get the file "
                "anew, or convert it to .mp4"
            )
        self.shape = height, width
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = rate if 0 < rate < 1000 else _RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        self.missing: str | None = None

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that can be read, in order.

        Raises:
            InputError: a frame has another size than the first.
        """
        number, before, gap, damaged = 0, 0.0, None, False
        while True:
            bgr, failed = self._next()
            if bgr is None:
                break
            time = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            if time < before:  # no time in the file, or a broken one
                time = before + 1 / self.rate
            if gap is None and (failed or time - before > 1.5 / self.rate):
                gap = number, before
            damaged = damaged or failed
            if bgr.shape[:2] != self.shape:
                raise InputError(f"{self.path}: frame {number} has another size than the first")
            yield VideoFrame(number, time, cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))
            number, before = number + 1, time
        # Counts are often the duration times the rate, and one too high.
        if damaged or (self.count is not None and number < self.count - 1):
            place, when = gap or (number, before)
            counted = f"{number} of {self.count}" if self.count else f"{number}"
            self.missing = (
                f"{counted} frames can be read; the first gap is before frame {place}, "
                f"after {when:.2f} s"
            )

    def _next(self) -> tuple[np.ndarray | None, bool]:
        """The next frame that can be read, uint8 [H, W, 3] in BGR, and whether others failed."""
        for attempt in range(_ATTEMPTS):
            whole, bgr = self._capture.read()
            if whole:
                return bgr, attempt > 0
        return None, False

    def close(self) -> None:
        """Lets go of the file."""
        self._capture.release()

    def __enter__(self) -> VideoReader:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Without OpenCV's warnings: what they say of a file is said in our own line."""
    before = cv2.utils.logging.getLogLevel()
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        cv2.utils.logging.setLogLevel(before)


@contextlib.contextmanager
def video_writer(
    path: Path, name: Path, like: VideoReader
) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a video of the rate and the size of another one.

    Codecs want even sizes: an odd last row or column is left out.

    Args:
        path: the file to write.
        name: what error messages call it; its suffix says the format.
        like: the other one.

    Returns:
        A function that takes frames uint8 [H, W, 3], RGB.

    Raises:
        InputError: it cannot be written.
    """
    with writing(name):
        path.touch()  # OpenCV would not say why
    height, width = like.shape
    own = path.with_name(path.name + DRAWN_SUFFIX)  # the suffix tells OpenCV the format
    fourcc = cv2.VideoWriter.fourcc(*_CODEC)
    writer = cv2.VideoWriter(str(own), fourcc, like.rate, (width, height))

    def write(pixels: np.ndarray) -> None:
        writer.write(cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))

    try:
        if not writer.isOpened():
            raise InputError(f"{name}: OpenCV cannot write this video")
        yield write
        writer.release()
        with writing(name):
            os.replace(own, path)
    finally:
        writer.release()
        own.unlink(missing_ok=True)
