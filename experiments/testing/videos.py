"""Videos through a predictor: a drawn video, and poses with frame numbers and times.

Everything streams: a few frames are in memory, whatever the length.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.testing.pictures import Task, report
from pinet_jax.errors import InputError
from pinet_jax.evaluation.result_files import Entry, pose_entries
from pinet_jax.files import replaced_whole
from pinet_jax.frames import Frame
from pinet_jax.image_batches import PosePredictor
from pinet_jax.poses import Poses
from pinet_jax.threads import work_ahead
from pinet_jax.video_files import VideoFrame, VideoReader, video_writer
from pinet_jax.visualization import draw_poses

_THREADS = 2  # that make frames, and that draw


class _Shown(NamedTuple):
    """A frame of the video, and the poses to draw on it."""

    frame: VideoFrame
    poses: Poses
    looked_at: bool  # False: the poses are those of an earlier frame


def predict_video(
    task: Task,
    predictor: PosePredictor,
    add: Callable[[Sequence[Entry]], None],
    *,
    every: int,
    score_threshold: float,
    batch_size: int,
) -> int:
    """Predicts a video, and writes the drawn one, of the same rate and size.

    What was done when Ctrl-C comes is kept: the drawn video ends there.

    Args:
        task: of a video.
        predictor: the model, one that needs no boxes.
        add: takes a frame's entries, which have its number and its time in seconds.
        every: looks at every so many frames; those between are drawn with the last poses.
        score_threshold: poses below it are not drawn.
        batch_size: frames that go through the device at a time, at most.

    Returns:
        1 if frames are missing, which is reported; 0 otherwise.

    Raises:
        InputError: the file is broken from the start on, or one cannot be written.
    """

    def draw(shown: _Shown) -> np.ndarray:
        poses = shown.poses
        return draw_poses(
            shown.frame.pixels,
            poses.keypoints,
            poses.scores,
            predictor.skeleton,
            score_threshold=score_threshold,
        )

    interrupted = None
    with (
        VideoReader(task.source) as video,
        replaced_whole(task.drawing) as partial,
        video_writer(partial, task.drawing, video) as write,
        tqdm(total=video.count, desc=task.source.name, unit="frame") as progress,
    ):
        # A frame between two that are looked at waits in memory: fewer of these at a time.
        size = max(1, batch_size // every)
        shown = _predicted(video.frames(), predictor, every, size)
        drawn = work_ahead(draw, shown, threads=_THREADS, ahead=2 * _THREADS)
        try:
            with contextlib.closing(drawn):
                for (frame, poses, looked_at), picture in drawn:
                    write(picture)
                    if looked_at:
                        add(_entries(task.image_id, frame, poses))
                    progress.update()
        except KeyboardInterrupt as stop:
            interrupted = stop
        _check_some(task.source, progress.n, interrupted)
    if interrupted is not None:
        raise interrupted
    if video.missing:
        return report(InputError(f"{task.source}: {video.missing}"))
    return 0


def _predicted(
    frames: Iterable[VideoFrame], predictor: PosePredictor, every: int, batch_size: int
) -> Iterator[_Shown]:
    """All frames, in order, with the poses of the last one that was looked at."""
    stream = iter(frames)
    chunks = iter(lambda: list(itertools.islice(stream, every)), [])

    def made(chunk: Sequence[VideoFrame]) -> list[Frame]:
        return predictor.frames(chunk[0].pixels)

    ready = work_ahead(made, chunks, threads=_THREADS, ahead=batch_size)
    chunk_of: dict[int, Sequence[VideoFrame]] = {}

    def numbered() -> Iterator[tuple[int, list[Frame]]]:
        for chunk, own in ready:
            chunk_of[chunk[0].number] = chunk
            yield chunk[0].number, own

    with contextlib.closing(ready):
        for number, stages in predictor.predict_stream(numbered(), batch_size):
            for place, frame in enumerate(chunk_of.pop(number)):
                yield _Shown(frame, stages["final"], place == 0)


def _entries(image_id: str, frame: VideoFrame, poses: Poses) -> list[Entry]:
    when = {"frame": frame.number, "time": round(frame.time, 6)}
    return [entry | when for entry in pose_entries(image_id, poses.keypoints, poses.scores)]


def _check_some(source: Path, done: int, interrupted: BaseException | None) -> None:
    """An empty video is no result: nothing is left of it."""
    if done == 0:
        if interrupted is not None:
            raise interrupted
        raise InputError(f"{source}: not a frame of this video can be read; get the file anew")
