"""Videos through `predict`: made by OpenCV, a brightness a frame, so that each one is known."""

import json
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import weakref

import av
import cv2
import numpy as np
import pytest

from experiments.commands.predict import main
from experiments.testing.pictures import plan
from experiments.testing.user_prediction import predict_inputs
from pinet_jax.checkpoints import save_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.methods.simple_baseline import SimpleBaseline
from pinet_jax.networks.resnet import ResNetConfig
from pinet_jax.video_files import VideoReader
from pinet_jax.visualization import person_color
from tests.conftest import ROOT
from tests.experiments.commands.test_predict import FakePredictor, picture, run
from tests.tiny import MICRO, lively_variables

RATE = 12.5
CODECS = {".mp4": "mp4v", ".avi": "MJPG", ".webm": "VP80"}


def film(path, frames=8, size=(160, 96), level=lambda i: (40 + 20 * i) % 240):
    """A video of plain grey frames."""
    path.parent.mkdir(exist_ok=True)
    fourcc = cv2.VideoWriter.fourcc(*CODECS[path.suffix])
    writer = cv2.VideoWriter(str(path), fourcc, RATE, size)
    for i in range(frames):
        writer.write(np.broadcast_to(np.uint8(level(i)), (size[1], size[0], 3)).copy())
    writer.release()
    return path


def frames_of(path):
    with VideoReader(path) as video:
        return video, list(video.frames())


def reports(capsys):
    lines = capsys.readouterr().err.splitlines()
    return [line for line in lines if "pinet-jax predict:" in line]


@pytest.mark.parametrize("suffix", CODECS)
def test_every_frame_has_its_number_time_and_poses(tmp_path, suffix):
    path = film(tmp_path / "in" / f"walk{suffix}")
    failures, entries = run([path], tmp_path / "out", batch_size=3)
    assert failures == 0
    assert [(e["image_id"], e["frame"]) for e in entries] == [(path.name, i) for i in range(8)]
    np.testing.assert_allclose([e["time"] for e in entries], np.arange(8) / RATE, atol=2e-3)
    levels = 40 + 20 * np.arange(8)
    np.testing.assert_allclose([e["score"] for e in entries], levels / 255, atol=0.02)


def test_the_drawn_video_has_the_same_rate_size_and_frames(tmp_path):
    path = film(tmp_path / "in" / "walk.avi")
    run([path], tmp_path / "out", batch_size=3)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"walk.mp4", "poses.json"}
    video, frames = frames_of(tmp_path / "out" / "walk.mp4")
    assert (video.shape, video.rate, len(frames)) == ((96, 160), RATE, 8)
    for i, frame in enumerate(frames):
        assert abs(int(frame.pixels[10, 10, 0]) - (40 + 20 * i)) < 8
    middle = frames[0].pixels[48, 80].astype(int)
    assert np.abs(middle - person_color(0)).max() < 60  # 4:2:0 halves the colours' resolution
    assert np.abs(middle - 40).max() > 60


def test_frames_of_the_same_video_fill_batches(tmp_path):
    predictor = FakePredictor()
    run([film(tmp_path / "in" / "walk.mp4")], tmp_path / "out", predictor=predictor, batch_size=3)
    assert [(size, len(shapes)) for size, shapes in predictor.batches] == [(3, 3), (3, 3), (3, 2)]


def test_every_third_frame_is_looked_at_and_all_are_drawn(tmp_path):
    path = film(tmp_path / "in" / "walk.mp4")
    predictor = FakePredictor()
    _, entries = run([path], tmp_path / "out", predictor=predictor, batch_size=6, every=3)
    assert [e["frame"] for e in entries] == [0, 3, 6]
    np.testing.assert_allclose([e["time"] for e in entries], [0, 0.24, 0.48], atol=2e-3)
    assert [(size, len(shapes)) for size, shapes in predictor.batches] == [(6, 3)]
    _, frames = frames_of(tmp_path / "out" / "walk.mp4")
    assert len(frames) == 8
    for frame in frames:  # those between carry the last poses
        assert np.ptp(frame.pixels[48, 80]) > 30


@pytest.mark.parametrize("every", [1, 50, 400])
def test_memory_grows_neither_with_the_length_nor_with_every(tmp_path, monkeypatch, every):
    path = film(tmp_path / "in" / "long.mp4", frames=400, size=(64, 48))
    alive, most = 0, 0
    read = VideoReader.frames

    def gone():
        nonlocal alive
        alive -= 1

    def counted(self):
        nonlocal alive, most
        for frame in read(self):
            weakref.finalize(frame.pixels, gone)
            alive += 1
            most = max(most, alive)
            yield frame

    monkeypatch.setattr(VideoReader, "frames", counted)
    _, entries = run([path], tmp_path / "out", batch_size=4, every=every)
    assert [e["frame"] for e in entries] == list(range(0, 400, every))
    assert alive <= 2  # which a generator that has ended may hold
    # Two batches that are read ahead or predicted, and what two threads draw and have drawn.
    assert most <= 20


def test_pictures_and_videos_share_poses_json(tmp_path):
    source = tmp_path / "in"
    film(source / "a.mp4", frames=2)
    picture(source / "b.png")
    film(source / "a.avi", frames=1)
    failures, entries = run([source], tmp_path / "out")
    assert failures == 0
    assert [e["image_id"] for e in entries] == ["b.png", "a.avi", "a.mp4", "a.mp4"]
    assert "frame" not in entries[0]
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"in_a.mp4", "in_a_2.mp4", "b.png", "poses.json"}


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_a_phones_video_is_upright(tmp_path, angle):
    """Its pixels lie on their side, and the file says how to turn them."""
    corner = np.zeros((96, 160, 3), np.uint8)
    corner[:48, :80] = 200
    path = turned(film(tmp_path / "in" / "a.mp4", level=lambda i: corner), angle)
    upright = np.rot90(corner, -angle // 90)
    height, width = upright.shape[:2]
    _, entries = run([path], tmp_path / "out")
    for entry in entries:
        keypoints = np.array(entry["keypoints"]).reshape(17, 3)
        np.testing.assert_allclose(keypoints[:, 0], width / 2)
        np.testing.assert_allclose(keypoints[[0, 16], 1], (0.1 * height, 0.9 * height), rtol=1e-6)
    video, frames = frames_of(tmp_path / "out" / "a.mp4")
    assert video.shape == (height, width) and len(frames) == 8
    for y, x in ((10, 10), (10, -10), (-10, 10), (-10, -10)):
        assert abs(int(frames[0].pixels[y, x, 0]) - int(upright[y, x, 0])) < 16


def turned(path, angle):
    """An .mp4 to be shown turned clockwise: the matrix of its track's header says so."""
    content = bytearray(path.read_bytes())
    cosine, sine = {90: (0, 1), 180: (-1, 0), 270: (0, -1)}[angle]
    one = 1 << 16
    fields = cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30
    header = content.index(b"tkhd") + 4
    assert content[header] == 0  # the version; the matrix is after nine fields of 32 bits and one
    content[header + 40 : header + 76] = struct.pack(">9i", *fields)
    path.write_bytes(content)
    return path


def truncated(path, part):
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])
    return path


def test_a_video_that_is_cut_short_is_named_and_kept_as_far_as_it_goes(tmp_path, capsys):
    path = truncated(film(tmp_path / "in" / "cut.avi", frames=20, level=moving()), 0.5)
    failures, entries = run([path], tmp_path / "out")
    assert failures == 1
    done = len(entries)
    assert 5 < done < 15
    (line,) = reports(capsys)
    wanted = f"{path}: {done} of 20 frames can be read; the first gap is before frame {done}, after"
    assert wanted in line
    assert len(frames_of(tmp_path / "out" / "cut.mp4")[1]) == done


def test_a_gap_is_named_by_its_frame_and_time(tmp_path, capsys):
    path = film(tmp_path / "in" / "hole.webm", frames=50, size=(160, 120), level=moving(120))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    path.write_bytes(content)
    failures, entries = run([path], tmp_path / "out")
    times = [e["time"] for e in entries]
    assert failures == 1 and len(entries) < 49
    gap = int(np.argmax(np.diff(times))) + 1
    (line,) = reports(capsys)
    assert f"the first gap is before frame {gap}, after {times[gap - 1]:.2f} s" in line


def test_what_follows_a_damaged_frame_is_read(tmp_path, capsys):
    path = film(tmp_path / "in" / "walk.avi", frames=20)
    content = bytearray(path.read_bytes())
    frames = [i for i in range(len(content)) if content[i : i + 2] == b"\xff\xd8"]  # JPEGs
    content[frames[8] : frames[9] - 16] = bytes(frames[9] - 16 - frames[8])
    path.write_bytes(content)
    failures, entries = run([path], tmp_path / "out")
    assert failures == 1
    times = [entry["time"] for entry in entries]
    np.testing.assert_allclose(times, np.delete(np.arange(20), 8) / RATE, atol=2e-3)
    (line,) = reports(capsys)
    assert "19 of 20 frames can be read; the first gap is before frame 8, after 0.56 s" in line


def moving(height=96):
    """Frames that do not compress to nothing."""
    coarse = np.random.default_rng(0).integers(0, 256, (9, 16, 3), np.uint8)
    texture = cv2.resize(coarse, (160, height))
    return lambda i: np.roll(texture, 3 * i, axis=1)


def bad_videos(folder):
    cut = truncated(film(folder / "cut.mp4"), 0.5)  # its index was at the end
    (folder / "text.mp4").write_text("no video")
    (folder / "empty.mov").touch()
    return {
        cut: "not a video that OpenCV reads, or one that is cut short",
        folder / "text.mp4": "not a video that OpenCV reads",
        folder / "empty.mov": "not a video that OpenCV reads",
        folder / "missing.mkv": "no such file",
    }


def test_what_is_no_video_is_named_and_stops_nobody(tmp_path, capfd):
    bad = bad_videos(tmp_path / "bad")
    good = film(tmp_path / "good.mp4", frames=2)
    failures, entries = run([*bad, good], tmp_path / "out")
    assert (failures, len(entries)) == (len(bad), 2)
    lines = capfd.readouterr().err.splitlines()
    for path, reason in bad.items():
        assert sum(f"pinet-jax predict: {path}: {reason}" in line for line in lines) == 1
    assert not any("ffmpeg" in line.lower() or "moov" in line for line in lines)  # no noise


def test_a_video_without_a_frame_leaves_nothing(tmp_path, monkeypatch):
    path = film(tmp_path / "in" / "a.mp4")
    monkeypatch.setattr(VideoReader, "frames", lambda self: iter([]))
    with pytest.raises(InputError, match="none of the inputs could be read"):
        run([path], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_ctrl_c_keeps_what_is_done_whole(tmp_path):
    paths = [film(tmp_path / "in" / name, frames=40) for name in ("a.mp4", "b.mp4")]
    tasks, _ = plan(paths, tmp_path / "out")

    class Stopped(FakePredictor):
        def predict_stream(self, images, batch_size):
            for number, found in enumerate(super().predict_stream(images, batch_size)):
                if number == 25:
                    raise KeyboardInterrupt
                yield found

    with pytest.raises(KeyboardInterrupt):
        predict_inputs(tasks, Stopped(), tmp_path / "out", score_threshold=0.1, batch_size=2)
    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    done = [e["frame"] for e in entries]
    assert done == list(range(len(done))) and 15 <= len(done) <= 25
    assert len(frames_of(tmp_path / "out" / "a.mp4")[1]) == len(done)
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"a.mp4", "poses.json"}


def test_ctrl_c_before_the_first_frame_leaves_older_files(tmp_path):
    tasks, _ = plan([film(tmp_path / "in" / "a.mp4")], tmp_path / "out")
    for name in ("a.mp4", "poses.json"):
        (tmp_path / "out" / name).write_text("older")

    class Stopped(FakePredictor):
        def predict_stream(self, images, batch_size):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_inputs(tasks, Stopped(), tmp_path / "out", score_threshold=0.1, batch_size=2)
    kept = {p.name: p.read_text() for p in (tmp_path / "out").iterdir()}
    assert kept == {"a.mp4": "older", "poses.json": "older"}


@pytest.fixture
def small_disk():
    """Files end at 100 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_and_leaves_older_files(tmp_path, request):
    noise = np.random.default_rng(0).integers(0, 256, (40, 96, 160, 3), np.uint8)
    path = film(tmp_path / "in" / "a.avi", frames=40, level=lambda i: noise[i])
    (tmp_path / "out").mkdir()
    for name in ("a.mp4", "poses.json"):
        (tmp_path / "out" / name).write_text("older")
    request.getfixturevalue("small_disk")
    with pytest.raises(InputError, match=r"out/a\.mp4: cannot be written \(File too large\)"):
        run([path], tmp_path / "out")
    kept = {p.name: p.read_text() for p in (tmp_path / "out").iterdir()}
    assert kept == {"a.mp4": "older", "poses.json": "older"}


def test_inputs_are_never_replaced(tmp_path):
    path = film(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match="would replace the input"):
        plan([path], tmp_path)


def test_typescript_in_a_folder_is_no_video(tmp_path, capsys):
    source = tmp_path / "in"
    film(source / "a.mp4", frames=1)
    for name in ("app.ts", "server.mts", "empty.ts"):
        (source / name).write_text("export const answer = 42;\n" * 20 if name != "empty.ts" else "")
    stream = source / "b.ts"
    with av.open(stream, "w", format="mpegts") as file:
        track = file.add_stream("libx264", rate=10)
        track.width, track.height, track.pix_fmt = 64, 48, "yuv420p"
        for _ in range(5):
            pixels = np.full((48, 64, 3), 99, np.uint8)
            file.mux(track.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        file.mux(track.encode())
    packets = stream.read_bytes()
    stamped = (b"\0\0\0\0" + packets[i : i + 188] for i in range(0, len(packets), 188))
    (source / "c.mts").write_bytes(b"".join(stamped))  # as a camera writes it
    failures, entries = run([source], tmp_path / "out")
    assert failures == 0 and reports(capsys) == []
    assert sorted({e["image_id"] for e in entries}) == ["a.mp4", "b.ts", "c.mts"]
    failures, _ = run([source / "a.mp4", source / "app.ts"], tmp_path / "out")
    (line,) = reports(capsys)  # one that is named is
    assert failures == 1 and f"{source / 'app.ts'}: not a video" in line


def test_a_folder_of_typescript_holds_nothing(tmp_path, capsys):
    source = tmp_path / "in"
    source.mkdir()
    (source / "app.ts").write_text("export const answer = 42;\n")
    assert plan([source], tmp_path / "out") == ([], 1)
    (line,) = reports(capsys)
    assert f"{source}: no pictures in this folder" in line


def test_a_top_down_network_is_refused(tmp_path):
    method = SimpleBaseline(backbone=ResNetConfig(base_width=4, bottlenecks=(1, 1, 1, 1)))
    save_model(tmp_path / "c", method, lively_variables(method))
    path = film(tmp_path / "a.mp4")
    with pytest.raises(UsageError, match=r"a\.mp4: SimpleBaseline needs people's boxes"):
        main(
            (path,),
            out=tmp_path / "out",
            checkpoint=tmp_path / "c",
            inference=method.inference_type(),
        )


@pytest.mark.slow
def test_the_command_is_stopped_by_ctrl_c(tmp_path):
    """A whole process, interrupted as a terminal does."""
    model = PINet(backbone=MICRO, refinement=None)
    save_model(tmp_path / "c", model, lively_variables(model), PINetInference(input_size=64))
    path = film(tmp_path / "a.mp4", frames=3000, size=(64, 64), level=lambda i: i % 256)
    out = tmp_path / "out"
    command = ["predict", str(path), "--out", str(out), "--checkpoint", str(tmp_path / "c")]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.cli", *command, "--no-flip"],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-tests")},
    )
    partial = out / "poses.json.partial"
    while process.poll() is None and not (partial.exists() and partial.stat().st_size > 20_000):
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130, error
    assert error.splitlines()[-1] == "pinet-jax predict: stopped"
    assert "/3000" in error and "Traceback" not in error
    frames = {e["frame"] for e in json.loads((out / "poses.json").read_text())}
    assert 0 < len(frames) < 3000
    # A frame may have been written whose poses were not added yet.
    assert len(frames_of(out / "a.mp4")[1]) - (max(frames) + 1) in (0, 1)
