"""Drawn videos: what players need of them, their rates, and Ctrl-C at any moment."""

import os
import signal
import threading
import types
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.video_files import VideoReader, video_writer


def like(rate=Fraction(25), shape=(48, 64)):
    return types.SimpleNamespace(shape=shape, rate=rate)


def plain(level, shape=(48, 64)):
    return np.full((*shape, 3), level, np.uint8)


def write(path, rate=Fraction(25), frames=10, shape=(48, 64)):
    with video_writer(path, like(rate, shape)) as add:
        for i in range(frames):
            add(plain(20 * i, shape))
    return path


def test_it_is_what_browsers_play(tmp_path):
    path = write(tmp_path / "a.mp4")
    with av.open(path) as file:
        (stream,) = file.streams
        assert (stream.codec_context.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (64, 48)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")  # its index comes first
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "rate", ["25/2", "2997/100", "30000/1001", "24000/1001", "60000/1001", "1", "180000/6007"]
)
def test_the_rate_is_kept_exactly(tmp_path, rate):
    path = write(tmp_path / "a.mp4", Fraction(rate))
    with av.open(path) as file:
        (stream,) = file.streams
        assert stream.average_rate == Fraction(rate)
        times = sorted(packet.pts * packet.time_base for packet in file.demux() if packet.size)
        assert times == [i / Fraction(rate) for i in range(10)]
    with VideoReader(path) as video:
        assert video.rate == Fraction(rate)
        frames = list(video.frames())
    np.testing.assert_allclose([f.time for f in frames], np.arange(10) / float(Fraction(rate)))
    for i, frame in enumerate(frames):
        assert abs(int(frame.pixels[20, 20, 0]) - 20 * i) < 5


def test_an_odd_size_loses_its_last_row_and_column(tmp_path):
    with VideoReader(write(tmp_path / "a.mp4", shape=(97, 161))) as video:
        assert video.shape == (96, 160)


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = write(Path("party:1.mp4"))
    with VideoReader(path) as video:
        assert len(list(video.frames())) == 10


def test_what_cannot_be_encoded_is_one_line(tmp_path):
    with pytest.raises(InputError, match=r"a\.mp4: cannot be written"):
        write(tmp_path / "a.mp4", shape=(1, 64))
    assert list(tmp_path.iterdir()) == []


def test_an_error_leaves_the_older_file(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_text("older")
    with pytest.raises(ZeroDivisionError), video_writer(path, like()) as add:
        add(plain(0))
        1 / 0  # noqa: B018
    assert path.read_text() == "older"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("wait", [0.02, 0.07, 0.13, 0.21])
def test_ctrl_c_at_any_moment_leaves_whole_frames(tmp_path, wait):
    """Most of the time goes into the encoder, so that it comes there."""
    path = tmp_path / "a.mp4"
    shape = (480, 640)
    texture = np.random.default_rng(0).integers(0, 99, (*shape, 3), np.uint8)
    timer = threading.Timer(wait, os.kill, (os.getpid(), signal.SIGINT))
    done = 0
    with pytest.raises(KeyboardInterrupt), video_writer(path, like(shape=shape)) as add:
        add(texture)
        timer.start()
        while done < 10_000:
            done += 1
            add(texture + np.uint8(done % 16 * 9))
    with VideoReader(path) as video:
        frames = list(video.frames())
        assert video.missing is None
    assert len(frames) - 1 in (done - 1, done)
    for i, frame in enumerate(frames):
        assert abs(frame.pixels.mean() - texture.mean() - i % 16 * 9) < 4
