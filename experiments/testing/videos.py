"""Videos through a predictor: a drawn video, and poses with frame numbers and times.

Everything streams: a few frames are in memory, whatever the length.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator
from typing import NamedTuple

import numpy as np
from tqdm import tqdm

from experiments.testing.pictures import Task, report
from experiments.testing.pose_output import PoseOutput
from pinet_jax.errors import InputError
from pinet_jax.frames import Frame
from pinet_jax.image_batches import PosePredictor
from pinet_jax.poses import Poses
from pinet_jax.threads import work_ahead
from pinet_jax.video_files import UnreadableVideo, VideoFrame, VideoReader, video_writer

_THREADS = 2  # that make frames, and that draw


class _Shown(NamedTuple):
    """A frame of the video, and the poses to draw on it."""

    frame: VideoFrame
    poses: Poses
    looked_at: bool  # False: the poses are those of an earlier frame


def predict_video(
    task: Task, predictor: PosePredictor, output: PoseOutput, *, every: int, batch_size: int
) -> int:
    """Predicts a video, and writes the drawn one, of the same rate and size.

    What was done when Ctrl-C comes is kept: the drawn video ends there.

    Args:
        task: of a video.
        predictor: the model, one that needs no boxes.
        output: draws, and takes the poses with a frame's number and its time in seconds.
        every: looks at every so many frames; those between are drawn with the last poses.
        batch_size: frames that go through the device at a time, at most.

    Returns:
        1 if frames are missing, which is reported; 0 otherwise.

    Raises:
        UnreadableVideo: not a frame of it can be read, or one has another size.
        InputError: the drawn video cannot be written.
    """

    def draw(shown: _Shown) -> np.ndarray:
        return output.draw(shown.frame.pixels, shown.poses)

    with (
        # Frames up to the next one that is looked at must be drawn after it was predicted in a
        # batch with others. They would all wait in memory, so they are read a second time.
        VideoReader(task.source) as ahead,
        VideoReader(task.source) as video,
        video_writer(task.drawing, video) as write,
        tqdm(total=video.count, desc=task.source.name, unit="frame") as progress,
    ):
        shown = _shown(video, ahead, predictor, every, batch_size)
        drawn = work_ahead(draw, shown, threads=_THREADS, ahead=2 * _THREADS)
        with contextlib.closing(shown), contextlib.closing(drawn):
            for (frame, poses, looked_at), picture in drawn:
                write(picture)
                if looked_at:
                    time = round(frame.time, 6)
                    output.add(task.image_id, poses, frame=frame.number, time=time)
                progress.update()
        if progress.n == 0:
            raise UnreadableVideo(
                f"{task.source}: not a frame of this video can be read; get the file anew"
            )
    if ahead.missing:
        return report(InputError(f"{task.source}: {ahead.missing}"))
    return 0


def _shown(
    video: VideoReader, ahead: VideoReader, predictor: PosePredictor, every: int, batch_size: int
) -> Generator[_Shown]:
    """All frames of a video, in order, with the poses of the last one that was looked at.

    Args:
        video: gives the frames.
        ahead: the same video, read for the predictor.
        predictor: the model.
        every: looks at every so many frames.
        batch_size: frames that go through the device at a time, at most.
    """

    def made(frame: VideoFrame) -> list[Frame]:
        return predictor.frames(frame.pixels)

    looked_at = itertools.islice(ahead.frames(), 0, None, every)
    ready = work_ahead(made, looked_at, threads=_THREADS, ahead=batch_size)
    numbered = ((frame.number, frames) for frame, frames in ready)
    left = video.frames()
    with contextlib.closing(ready):
        for _, stages in predictor.predict_stream(numbered, batch_size):
            for place, frame in enumerate(itertools.islice(left, every)):
                yield _Shown(frame, stages["final"], place == 0)
