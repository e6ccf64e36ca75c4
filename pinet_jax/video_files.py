"""Video files: upright uint8 RGB frames with their times, and back.

Legend for shapes: H rows, W columns of an upright frame.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Final, NamedTuple

# Before OpenCV's first video: FFmpeg's own lines about a damaged file would be noise.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

import cv2
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.files import replaced_whole
from pinet_jax.interrupts import held_back

# What people's cameras and programs write; FFmpeg, which OpenCV reads with, knows them all. It
# would also take a text file for a film of letters, so that the suffix decides.
VIDEO_SUFFIXES = frozenset(
    (".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg",
     ".mts", ".ogv", ".ts", ".webm", ".wmv")
)  # fmt: skip
# Also those of TypeScript's sources.
_AMBIGUOUS_SUFFIXES = frozenset((".mts", ".ts"))
_PACKET_BYTES = 188  # of an MPEG transport stream; each begins with the byte 0x47
_STAMP_BYTES = 4  # before every packet, where a camera writes it

DRAWN_SUFFIX = ".mp4"
# H.264 in 4:2:0 is what every browser plays; OpenCV's wheels write none.
_FORMAT, _PIXELS = "mp4", "yuv420p"
_CODEC: Final = "libx264"
_QUALITY = {"crf": "20", "preset": "veryfast"}
_INDEX_FIRST = {"movflags": "faststart"}  # so that a browser plays what it has not all got

_RATE = Fraction(25)  # frames a second, where a file says none
_FINEST_RATE = 100_000  # denominator: 30000/1001 is found again in its float
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


class UnreadableVideo(InputError):
    """A file that is no video, or one without a frame that can be read."""


def looks_like_video(path: Path) -> bool:
    """Whether a file of a folder is meant as a video: by its suffix, and by its bytes in doubt."""
    suffix = path.suffix.lower()
    return suffix in VIDEO_SUFFIXES and (
        suffix not in _AMBIGUOUS_SUFFIXES or _is_transport_stream(path)
    )


def _is_transport_stream(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            start = file.read(2 * (_STAMP_BYTES + _PACKET_BYTES))
    except OSError:
        return True  # whoever reads it will say why it cannot be read
    return any(
        start[stamp : stamp + 1] == start[2 * stamp + _PACKET_BYTES :][:1] == b"\x47"
        for stamp in (0, _STAMP_BYTES)
    )


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
            UnreadableVideo: there is no such file, or it is no video that OpenCV reads.
        """
        self.path = Path(path)
        if not self.path.is_file():
            raise UnreadableVideo(f"{path}: no such file")
        with _quiet_opencv():
            self._capture = cv2.VideoCapture(str(self.path.absolute()), cv2.CAP_FFMPEG)
        width, height = (
            int(self._capture.get(what))
            for what in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
        )
        if not self._capture.isOpened() or min(width, height) < 1:
            raise UnreadableVideo(
                f"{path}: not a video that OpenCV reads, or one that is cut short; get the file "
                "anew, or convert it to .mp4"
            )
        self.shape = height, width
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        self.rate = Fraction(rate).limit_denominator(_FINEST_RATE) if 0 < rate < 1000 else _RATE
        count = int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.count = count if count > 0 else None
        self.missing: str | None = None

    def frames(self) -> Iterator[VideoFrame]:
        """All frames that can be read, in order.

        Raises:
            UnreadableVideo: a frame has another size than the first.
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
                raise UnreadableVideo(
                    f"{self.path}: frame {number} has another size than the first"
                )
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
def video_writer(path: Path, like: VideoReader) -> Iterator[Callable[[np.ndarray], None]]:
    """Writes a video of the rate and the size of another one, without sound.

    H.264 in .mp4. It appears at the end, whole; after Ctrl-C, with the frames until then. An error
    leaves nothing behind, and an older file as it was. Codecs want even sizes: an odd last row or
    column is left out.

    Args:
        path: the file to write.
        like: the other one.

    Returns:
        A function that takes frames uint8 [H, W, 3], RGB.

    Raises:
        InputError: it cannot be written.
    """
    interrupted = None
    with replaced_whole(path) as partial:
        try:
            with _encoder(partial, path, like) as write:
                yield write
        except KeyboardInterrupt as stop:
            if not partial.exists():  # it came before the first frame
                raise
            interrupted = stop
    if interrupted is not None:
        raise interrupted


@contextlib.contextmanager
def _encoder(path: Path, name: Path, like: VideoReader) -> Iterator[Callable[[np.ndarray], None]]:
    """As `video_writer`, into `path`; after Ctrl-C, too, the file is ended as a whole one."""
    import av  # takes a second or more, and few runs write a video

    height, width = (side // 2 * 2 for side in like.shape)
    numbers = itertools.count()

    def write(pixels: np.ndarray) -> None:
        even = np.ascontiguousarray(pixels[:height, :width])
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts, frame.time_base = next(numbers), 1 / like.rate
        with held_back():  # a packet that is encoded and not written spoils those after it
            file.mux(stream.encode(frame))

    try:
        # FFmpeg would take what comes before a colon in a name alone for a protocol.
        file = av.open(path.absolute(), "w", format=_FORMAT, container_options=_INDEX_FIRST)
        stream = file.add_stream(_CODEC, rate=like.rate, options=_QUALITY)
        stream.width, stream.height, stream.pix_fmt = width, height, _PIXELS
        try:
            yield write
        finally:
            with held_back(), file:
                file.mux(stream.encode())
    except av.FFmpegError as error:
        raise InputError(f"{name}: cannot be written ({error.strerror})") from error
