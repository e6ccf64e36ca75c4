"""The command `predict`: files in, poses.json and drawn pictures out."""

import dataclasses
import itertools
import json
import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from experiments.commands.convert import main as convert
from experiments.commands.predict import main
from experiments.configs import load_config
from experiments.testing.pictures import drawing_names, plan
from experiments.testing.user_prediction import predict_inputs
from pinet_jax.checkpoints import save_model
from pinet_jax.errors import InputError
from pinet_jax.images import read_image
from pinet_jax.inference import Predictor
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.poses import Poses
from pinet_jax.resizing import resized_shape
from pinet_jax.skeletons import COCO_17
from pinet_jax.visualization import person_color
from tests.conftest import ROOT, golden, shared_data
from tests.tiny import MICRO, lively_variables
from tests.weights_rule import state_dict

RED = (200, 30, 30)


@dataclasses.dataclass
class FakePredictor:
    """Finds one vertical person in the middle of every picture; her score is its mean red."""

    skeleton = COCO_17
    batches: list = dataclasses.field(default_factory=list)

    def frame_shapes(self, image_shape):
        return (resized_shape(*image_shape, 128),)

    def frames(self, image, boxes=None):
        return [image]

    def predict_stream(self, images, batch_size):
        while batch := list(itertools.islice(images, batch_size)):
            self.batches.append((batch_size, [image.shape[:2] for _, (image,) in batch]))
            for place, (image,) in batch:
                score = np.float32(image[..., 0].mean() / 255)
                yield place, {"final": self._poses(score, *image.shape[:2])}

    def _poses(self, score, height, width):
        keypoints = np.full((1, 17, 3), score, np.float32)
        keypoints[0, :, 0] = width / 2
        keypoints[0, :, 1] = np.linspace(0.1, 0.9, 17) * height
        return Poses(keypoints, np.array([score]))


def picture(path, height=64, width=96, color=RED):
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", (width, height), color).save(path)
    return path


def run(paths, out, *, predictor=None, batch_size=2, score_threshold=0.1, every=1):
    """Plans and predicts; (failures, entries of poses.json)."""
    tasks, unusable = plan(paths, out)
    unreadable = predict_inputs(
        tasks,
        predictor or FakePredictor(),
        out,
        score_threshold=score_threshold,
        batch_size=batch_size,
        every=every,
    )
    return unusable + unreadable, json.loads((out / "poses.json").read_text())


def test_poses_json_is_cocos_result_format_in_the_users_order(tmp_path):
    names = ["c.png", "a.png", "b.png"]
    paths = [
        picture(tmp_path / "in" / name, 60, 60 + 70 * i, color=(50 + 50 * i, 0, 0))
        for i, name in enumerate(names)
    ]
    failures, entries = run(paths, tmp_path / "out")
    assert failures == 0
    assert [entry["image_id"] for entry in entries] == names
    for i, entry in enumerate(entries):
        assert set(entry) == {"image_id", "category_id", "keypoints", "score"}
        assert entry["category_id"] == 1
        triplets = np.array(entry["keypoints"]).reshape(17, 3)
        np.testing.assert_allclose(triplets[:, 0], 30 + 35 * i)
        np.testing.assert_allclose(triplets[[0, 16], 1], (6, 54), rtol=1e-6)
        assert np.float32(entry["score"]) == np.float32((50 + 50 * i) / 255)


def test_every_picture_is_drawn_under_its_own_name(tmp_path):
    source = tmp_path / "in"
    picture(source / "large.jpg", 400, 500)
    picture(source / "alpha.webp", 400, 500)
    _, entries = run([source], tmp_path / "out")
    assert [entry["image_id"] for entry in entries] == ["alpha.webp", "large.jpg"]
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert out == {"alpha.png", "large.jpg", "poses.json"}
    drawn = read_image(tmp_path / "out" / "alpha.png")
    np.testing.assert_array_equal(drawn[200, 250], person_color(0))
    np.testing.assert_allclose(drawn[200, 50], RED, atol=4)


def test_the_threshold_is_for_the_drawn_pictures_alone(tmp_path):
    path = picture(tmp_path / "a.png", 400, 500)
    _, entries = run([path], tmp_path / "out", score_threshold=0.99)
    assert len(entries) == 1
    np.testing.assert_array_equal(read_image(tmp_path / "out" / "a.png"), read_image(path))


def test_pictures_of_one_input_shape_share_batches(tmp_path):
    paths = [picture(tmp_path / f"{i}.png", 64 if i % 2 else 96, 96) for i in range(8)]
    paths.append(picture(tmp_path / "long.png", 50, 400))
    predictor = FakePredictor()
    failures, entries = run(paths, tmp_path / "out", predictor=predictor, batch_size=3)
    assert failures == 0 and len(entries) == 9
    found = sorted((size, len(shapes), shapes[0]) for size, shapes in predictor.batches)
    assert found == sorted(
        [(3, 3, (64, 96)), (3, 1, (64, 96)), (3, 3, (96, 96)), (3, 1, (96, 96)), (1, 1, (50, 400))]
    )
    assert all(len(set(shapes)) == 1 for _, shapes in predictor.batches)


def bad_inputs(folder):
    """A path and the start of its one line, for everything that is no picture."""
    folder.mkdir()
    truncated = picture(folder / "truncated.jpg")
    truncated.write_bytes(truncated.read_bytes()[:-30])
    bomb = folder / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(bomb)
    (folder / "text.png").write_text("no picture")
    (folder / "empty.gif").touch()
    (folder / "nothing").mkdir()
    return {
        truncated: "a truncated or damaged JPEG",
        bomb: "more than 179 megapixels",
        folder / "text.png": "not a picture",
        folder / "empty.gif": "the file is empty",
        folder / "nothing": "no pictures in this folder",
        folder / "missing.jpg": "no such file",
        picture(folder / "thread.png", 1, 100): "100 x 1 pixels are too elongated",
    }


def test_bad_inputs_are_named_in_a_line_each_and_stop_nobody(tmp_path, capsys):
    bad = bad_inputs(tmp_path / "bad")
    good = [picture(tmp_path / f"{i}.png") for i in range(3)]
    paths = [good[0], *bad, good[1], good[2]]
    failures, entries = run(paths, tmp_path / "out")
    assert failures == len(bad)
    assert [entry["image_id"] for entry in entries] == ["0.png", "1.png", "2.png"]
    lines = [line for line in capsys.readouterr().err.splitlines() if "pinet-jax predict:" in line]
    for path, reason in bad.items():
        assert sum(f"pinet-jax predict: {path}: {reason}" in line for line in lines) == 1
    assert len(lines) == len(bad)


@pytest.mark.parametrize(
    "name",
    ["grey.jpg", "grey16.png", "rgba.png", "cmyk.jpg", "turned.jpg", "one.png", "moving.gif"],
)
def test_every_kind_of_picture_is_predicted(tmp_path, name):
    path = tmp_path / name
    exif = Image.Exif()
    exif[0x0112] = 6
    image = Image.new("RGB", (80, 120), RED)
    {
        "grey.jpg": lambda: image.convert("L").save(path),
        "grey16.png": lambda: cv2.imwrite(str(path), np.full((80, 120), 40_000, np.uint16)),
        "rgba.png": lambda: image.convert("RGBA").save(path),
        "cmyk.jpg": lambda: image.convert("CMYK").save(path),
        "turned.jpg": lambda: image.save(path, exif=exif),
        "one.png": lambda: Image.new("RGB", (1, 1), RED).save(path),
        "moving.gif": lambda: image.save(path, save_all=True, append_images=[image.rotate(90)]),
    }[name]()
    failures, entries = run([path], tmp_path / "out")
    assert failures == 0 and len(entries) == 1
    # The one turned upright is wider than high, the others' middle is at 40 or 60.
    middle = {"grey16.png": 60, "turned.jpg": 60, "one.png": 0.5}.get(name, 40)
    assert entries[0]["keypoints"][0] == middle


def test_same_names_from_different_folders_stay_apart(tmp_path):
    paths = [picture(tmp_path / folder / "x.png") for folder in ("a", "b")]
    paths.append(picture(tmp_path / "a" / "y.png"))
    _, entries = run(paths, tmp_path / "out")
    ids = [entry["image_id"] for entry in entries]
    assert ids == [
        (tmp_path / "a" / "x.png").as_posix(),
        (tmp_path / "b" / "x.png").as_posix(),
        "y.png",
    ]
    out = {path.name for path in (tmp_path / "out").iterdir()}
    assert out == {"a_x.png", "b_x.png", "y.png", "poses.json"}


def test_drawing_names_never_meet(tmp_path):
    sources = [
        "a/x.png",
        "a/x.webp",
        "b/a/X.PNG",
        "a/x.jpg",
        "a/x.jpeg",
        "c/a_x.png",
        "c/poses.gif",
    ]
    names = drawing_names([tmp_path / source for source in sources])
    assert len({name.lower() for name in names}) == len(sources)
    assert names[5:] == ["a_x.png", "poses.png"]
    assert [name.rsplit(".")[-1] for name in names[:5]] == ["png", "png", "png", "jpg", "jpg"]


def test_a_picture_named_twice_is_done_once(tmp_path):
    path = picture(tmp_path / "in" / "a.png")
    _, entries = run([path, tmp_path / "in"], tmp_path / "out")
    assert len(entries) == 1


def test_inputs_are_never_replaced(tmp_path):
    path = picture(tmp_path / "a.png")
    before = path.read_bytes()
    with pytest.raises(InputError, match="would replace the input"):
        plan([tmp_path], tmp_path)
    assert path.read_bytes() == before


def test_an_output_that_cannot_be_made_is_refused(tmp_path):
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(InputError, match=f"--out {file}: cannot be made"):
        plan([picture(tmp_path / "a.png")], file)


def test_a_second_run_replaces_the_first(tmp_path):
    path = picture(tmp_path / "a.png")
    run([path], tmp_path / "out")
    picture(path, color=(255, 255, 255))
    _, entries = run([path], tmp_path / "out")
    assert [entry["score"] for entry in entries] == [1.0]
    assert not list((tmp_path / "out").glob("*.partial"))


def test_nothing_readable_leaves_no_poses(tmp_path):
    path = picture(tmp_path / "a.jpg")
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match="none of the inputs could be read"):
        run([path], tmp_path / "out")
    assert not (tmp_path / "out" / "poses.json").exists()


def test_a_failure_to_draw_is_not_silent(tmp_path):
    path = picture(tmp_path / "a.png")
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    with pytest.raises(InputError, match=r"a\.png: cannot be written"):
        run([path], tmp_path / "out")
    assert not (tmp_path / "out" / "poses.json").exists()


class Stopped(FakePredictor):
    """Ctrl-C comes before it finds the poses of the `after`th picture."""

    def __init__(self, after):
        super().__init__()
        self.after = after

    def predict_stream(self, images, batch_size):
        for found in super().predict_stream(images, batch_size):
            if self.after == 0:
                raise KeyboardInterrupt
            self.after -= 1
            yield found


def stopped_run(paths, out, after):
    """What is in `out`, where an older poses.json and a.png were."""
    for name in ("a.png", "poses.json"):
        (out / name).write_text("older")
    tasks, _ = plan(paths, out)
    with pytest.raises(KeyboardInterrupt):
        predict_inputs(tasks, Stopped(after), out, score_threshold=0.1, batch_size=2)
    return {path.name for path in out.iterdir()}


def test_ctrl_c_keeps_the_pictures_that_are_done(tmp_path):
    (tmp_path / "out").mkdir()
    # Batches of the higher ones come first; poses.json has the user's order.
    heights = {"a": 64, "b": 200, "c": 64, "d": 200, "e": 64, "f": 64}
    paths = [picture(tmp_path / "in" / f"{name}.png", h, 200) for name, h in heights.items()]
    whole = run(paths, tmp_path / "whole")[1]
    assert [entry["image_id"] for entry in whole] == [f"{name}.png" for name in "abcdef"]

    predictor = FakePredictor()
    run(paths, tmp_path / "batches", predictor=predictor)
    assert [shapes[0][0] for _, shapes in predictor.batches] in ([64, 64, 200], [200, 64, 64])
    first = "ac" if predictor.batches[0][1][0][0] == 64 else "bd"

    left = stopped_run(paths, tmp_path / "out", after=3)
    assert left == {"a.png", "poses.json"} | {f"{name}.png" for name in first}
    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert entries == [entry for entry in whole if entry["image_id"][0] in first]
    for name in first:
        assert read_image(tmp_path / "out" / f"{name}.png").shape == (heights[name], 200, 3)


def test_ctrl_c_in_a_later_batch_keeps_the_users_order(tmp_path):
    (tmp_path / "out").mkdir()
    paths = [picture(tmp_path / "in" / f"{i}.png", 200 if i % 2 else 64, 200) for i in range(8)]
    stopped_run(paths, tmp_path / "out", after=6)
    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    names = [entry["image_id"] for entry in entries]
    assert len(names) == 6 and names == sorted(names)


def test_ctrl_c_with_nothing_done_leaves_older_files(tmp_path):
    (tmp_path / "out").mkdir()
    paths = [picture(tmp_path / "in" / f"{name}.png") for name in "abc"]
    assert stopped_run(paths, tmp_path / "out", after=1) == {"a.png", "poses.json"}
    for name in ("a.png", "poses.json"):
        assert (tmp_path / "out" / name).read_text() == "older"


def test_ctrl_c_in_a_video_keeps_the_pictures_before_it(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("experiments.testing.user_prediction.predict_video", interrupted)
    source = tmp_path / "in"
    path = picture(source / "a.png")
    cv2.VideoWriter(str(source / "b.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 5, (64, 48)).write(
        np.zeros((48, 64, 3), np.uint8)
    )
    tasks, _ = plan([path, source / "b.avi"], tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        predict_inputs(tasks, FakePredictor(), tmp_path / "out", score_threshold=0.1, batch_size=2)
    (entry,) = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert entry["image_id"] == "a.png"


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """A checkpoint of a micro network, its config and variables."""
    config = PINet(backbone=MICRO, refinement=None)
    variables = lively_variables(config)
    path = tmp_path_factory.mktemp("model") / "micro"
    save_model(path, config, variables)
    return path, config, variables


def test_the_command_gives_what_the_predictor_gives(tmp_path, micro):
    checkpoint, config, variables = micro
    rng = np.random.default_rng(0)
    images = [
        cv2.resize(rng.integers(0, 256, (6, 8, 3), np.uint8), size)
        for size in ((120, 90), (1, 1), (60, 45), (240, 180))
    ]
    for i, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    options = {"input_size": 64, "flip": False}
    inference = PINetInference(**options)
    main(
        (tmp_path,), checkpoint=checkpoint, out=tmp_path / "out", batch_size=2, inference=inference
    )

    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    predictor = Predictor(config, variables, inference)
    for i, image in enumerate(images):
        (expected,) = predictor.predict_batch([image], batch_size=1 if i == 1 else 2)
        found = [entry for entry in entries if entry["image_id"] == f"{i}.png"]
        assert len(found) == len(expected.scores) > 0
        np.testing.assert_allclose([e["score"] for e in found], expected.scores, rtol=1e-4)
        keypoints = expected.keypoints.reshape(len(found), -1)
        np.testing.assert_allclose([e["keypoints"] for e in found], keypoints, rtol=1e-4, atol=1e-2)


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "experiments.cli", "predict", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-tests")},
    )


def test_the_command_line(tmp_path, micro):
    good, bad = picture(tmp_path / "good.png", 1, 1), tmp_path / "missing.png"
    options = "--checkpoint", micro[0], "--out", tmp_path / "out", "--input-size", 64, "--no-flip"
    result = command(good, bad, *options)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if "pinet-jax predict:" in line]
    assert len(errors) == 2 and "Traceback" not in result.stderr
    assert f"{bad}: no such file" in errors[0]
    assert "1/1" in result.stderr  # the progress bar
    assert (tmp_path / "out" / "poses.json").exists()
    nothing = command(*options)
    assert nothing.returncode == 2
    assert nothing.stderr == (
        "pinet-jax predict: no pictures or videos: name at least one file or folder\n"
    )
    assert command(good, *options, "--no-such-flag").returncode == 2


def test_help_asks_for_at_least_one_file():
    text = " ".join(command("--help").stdout.split())
    assert "predict [-h] [OPTIONS] PATH [PATH ...] " in text
    assert "PATH [PATH ...] picture and video files" in text
    described = text.partition("PATH [PATH ...] picture")[2].partition("╰")[0]
    assert described.endswith("(required) │ ") and "default" not in described
    assert "without sound" in text


def test_golden_poses_on_the_command_line(tmp_path):
    """From the reference's weights and a real image on, as a user goes."""
    figures = golden("predict_crowdpose.npz")
    image = shared_data("crowdpose", "images", str(figures["image_file"]))
    np.savez(tmp_path / "weights.npz", **state_dict("crowdpose"))
    checkpoint = tmp_path / "checkpoint"
    model = load_config("crowdpose").model
    convert(str(tmp_path / "weights.npz"), config="crowdpose", model=model, out=str(checkpoint))
    size = int(figures["input_size"])
    inference = PINetInference(input_size=size)
    main((image,), checkpoint=checkpoint, out=tmp_path / "out", inference=inference)

    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    found = np.array([entry["keypoints"] for entry in entries]).reshape(-1, 14, 3)
    np.testing.assert_allclose(found[..., :2], figures["poses"][..., :2], rtol=0, atol=0.05)
    for scores, expected in (
        (found[..., 2], figures["poses"][..., 2]),
        (np.array([entry["score"] for entry in entries]), figures["scores"]),
    ):
        assert (np.abs(scores - expected) <= 1e-3 * np.maximum(1, np.abs(expected))).all()
