"""`pinet_jax.load()`: pictures of any kind and size, against the level below."""

import functools
import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import pinet_jax
from pinet_jax import pictures
from pinet_jax.checkpoints import save_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.images import pixels_of, read_image
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.methods.simple_baseline import SimpleBaseline
from pinet_jax.networks.resnet import ResNetConfig
from pinet_jax.visualization import draw_poses
from tests.conftest import ROOT
from tests.tiny import MICRO, lively_variables

SIZES = ((60, 80), (90, 60), (60, 80), (1, 1))  # rows and columns


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    config = PINet(backbone=MICRO, refinement=None)
    path = tmp_path_factory.mktemp("model") / "micro"
    save_model(path, config, lively_variables(config), PINetInference(input_size=64))
    return path


@pytest.fixture(scope="module")
def predict(checkpoint):
    """All poses, whatever their score."""
    return functools.partial(pinet_jax.load(checkpoint, flip=False), score_threshold=None)


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    small = [rng.integers(0, 256, (6, 8, 3), np.uint8) for _ in SIZES]
    enlarged = [Image.fromarray(x).resize(size[::-1]) for x, size in zip(small, SIZES, strict=True)]
    return [np.asarray(picture) for picture in enlarged]


def same(found, wanted):
    np.testing.assert_allclose(found.keypoints, wanted.keypoints, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(found.scores, wanted.scores, rtol=1e-4)


def test_importing_the_package_loads_nothing():
    script = "import sys, pinet_jax; print(sys.modules.keys() & {'jax', 'numpy', 'PIL'})"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


def test_many_pictures_of_any_size_are_what_the_level_below_gives(predict, arrays):
    found = predict(arrays)
    assert [poses.name for poses in found] == [f"picture {i}" for i in range(4)]
    for poses, array in zip(found, arrays, strict=True):
        assert len(poses) == len(poses.scores) > 0
        same(poses, predict.func.predictor.predict(array))


def test_paths_pictures_and_arrays_are_the_same(predict, arrays, tmp_path):
    path = tmp_path / "one.png"
    Image.fromarray(arrays[1]).save(path)
    wanted = predict(arrays[1])
    for kind in (path, str(path), Image.open(path), Image.fromarray(arrays[1])):
        same(predict(kind), wanted)
    mixed = predict([arrays[0], path, Image.open(path)])
    assert [poses.name for poses in mixed] == ["picture 0", "one.png", "picture 2"]
    same(mixed[2], wanted)


def test_a_turned_picture_is_upright_by_either_way(predict, arrays, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.png"
    Image.fromarray(arrays[0]).save(path, exif=exif)
    kinds = path, Image.open(path)
    drawn = [predict(kind, score_threshold=np.inf).draw() for kind in kinds]
    for picture in drawn:
        np.testing.assert_array_equal(np.asarray(picture), np.rot90(arrays[0], -1))


def test_poses_have_names_a_drawing_and_cocos_format(predict, arrays, tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(arrays[0]).save(path)
    poses = predict(path)
    nose = poses.people[0]["nose"]
    assert (nose.x, nose.y, nose.score) == tuple(poses.keypoints[0, 0].tolist())
    assert tuple(poses.people[0]) == predict.func.skeleton.keypoints
    assert repr(poses) == f"<PicturePoses a.png: {len(poses)} poses of coco_17>"

    drawn = draw_poses(
        read_image(path), poses.keypoints, poses.scores, poses.skeleton, score_threshold=-np.inf
    )
    np.testing.assert_array_equal(np.asarray(poses.draw()), drawn)

    entries = json.loads(json.dumps(poses.to_coco()))
    assert {entry["image_id"] for entry in entries} == {"a.png"}
    for number in (7, np.int64(7)):
        assert json.loads(json.dumps(poses.to_coco(number)))[0]["image_id"] == 7
    np.testing.assert_array_equal(
        np.float32([entry["keypoints"] for entry in entries]).reshape(poses.keypoints.shape),
        poses.keypoints,
    )


def test_poses_with_a_low_score_are_left_out(predict, arrays):
    poses = predict(arrays[0])
    limit = float(np.median(poses.scores))
    sure = predict(arrays[0], score_threshold=limit)
    np.testing.assert_array_equal(sure.scores, poses.scores[poses.scores >= limit])
    assert len(sure) == len(sure.people) == len(sure.to_coco()) < len(poses)
    assert len(sure.stages["coarse"].scores) == len(poses.stages["coarse"].scores)
    np.testing.assert_array_equal(predict.func(arrays[0]).scores, poses.scores[poses.scores >= 0.1])


def test_two_files_of_a_name_keep_their_folders(predict, arrays, tmp_path):
    paths = [tmp_path / "a" / "one.png", tmp_path / "b" / "one.png", tmp_path / "a" / "two.png"]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(arrays[3]).save(path)
    found = predict([*paths, str(paths[2])])
    assert [poses.name for poses in found] == [str(paths[0]), str(paths[1]), "two.png", "two.png"]


def test_premultiplied_grey_is_read(predict, arrays):
    picture = Image.fromarray(arrays[0]).convert("LA").convert("La")
    same(predict(picture), predict(Image.fromarray(arrays[0]).convert("L")))


def test_boxes_that_no_one_needs_are_refused(predict, arrays):
    with pytest.raises(UsageError, match="boxes: this network finds people by itself"):
        predict(arrays[0], np.array([[1, 1, 20, 40, 1]]))


@pytest.mark.parametrize("nothing", [5, b"network", ["a"]])
def test_what_is_no_path_of_a_checkpoint_is_refused(nothing):
    with pytest.raises(UsageError, match="checkpoint: a path is wanted, not "):
        pinet_jax.load(nothing)


def test_a_top_down_network_takes_boxes(arrays, tmp_path):
    backbone = ResNetConfig(base_width=4, bottlenecks=(1, 1, 1, 1))
    method = SimpleBaseline(backbone=backbone, crop_shape=(64, 32))
    save_model(tmp_path / "c", method, lively_variables(method))
    load = pinet_jax.load(tmp_path / "c", flip=False)
    predict = functools.partial(load, score_threshold=None)
    boxes = [
        np.array([[10, 10, 20, 40, 0.9]]),
        np.zeros((0, 5)),
        np.array([[1, 1, 20, 40, 1], [40, 20, 20, 40, 1]]),
    ]
    found = predict(arrays[:3], boxes)
    assert [len(poses) for poses in found] == [1, 0, 2]
    same(predict(arrays[0], boxes[0]), found[0])
    with pytest.raises(UsageError, match="boxes of 3 pictures, and 2 pictures"):
        predict(arrays[:2], boxes)
    with pytest.raises(InputError, match="needs people's boxes"):
        predict(arrays[0])


def test_no_pictures_no_poses(predict):
    assert predict([]) == []


@pytest.mark.parametrize(
    ("array", "shape"),
    [
        (np.zeros((8, 8, 2), np.uint8), r"\[8, 8, 2\]"),
        (np.zeros((8, 8, 3), np.float32), r"float32 \[8, 8, 3\]"),
        (np.zeros((0, 8, 3), np.uint8), r"\[0, 8, 3\]"),
    ],
)
def test_an_array_that_is_no_picture_is_refused(predict, array, shape):
    with pytest.raises(InputError, match=f"picture 0: an image is {shape}; give uint8"):
        predict(array)


@pytest.mark.parametrize("nothing", [None, 3, [None]])
def test_what_is_no_picture_at_all_is_refused(predict, nothing):
    with pytest.raises(InputError, match=r"picture 0: an image is a \w+, no array; give uint8"):
        predict(nothing)


def test_what_cannot_be_read_is_named(predict, tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    with pytest.raises(InputError, match=r"text\.png: not a picture"):
        predict([tmp_path / "text.png"])
    with pytest.raises(InputError, match="no such file"):
        predict(str(tmp_path / "missing.png"))
    with pytest.raises(
        InputError, match=r"example\.org/a\.png: a web address; fetch the file first"
    ):
        predict("https://example.org/a.png")


def test_an_unknown_field_of_the_test_procedure_is_refused(checkpoint):
    with pytest.raises(UsageError, match="flipped: the test procedure has no such field: flip,"):
        pinet_jax.load(checkpoint, flipped=False)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"scales": "x"}, "scales: 'x' is no list"),
        ({"scales": 2.0}, "scales: 2.0 is no list"),
        ({"scales": ["1"]}, "scales: '1' is no float"),
        ({"flip": "no"}, "flip: 'no' is no bool"),
        ({"input_size": 256.5}, "input_size: 256.5 is no int"),
        ({"input_size": True}, "input_size: True is no int"),
        ({"oks_threshold": None}, "oks_threshold: None is no float"),
        ({"oks_threshold": 7}, "oks_threshold 7: use a number from 0 to 1"),
        ({"oks_threshold": float("nan")}, "oks_threshold nan: use a number from 0 to 1"),
    ],
)
def test_a_value_that_a_field_cannot_have_is_refused(checkpoint, field, message):
    with pytest.raises(InputError, match=message):
        pinet_jax.load(checkpoint, **field)


def test_numbers_of_numpy_and_lists_are_taken(checkpoint):
    asked = {"oks_threshold": np.float32(0.5), "input_size": np.int64(64), "scales": [1, 0.5]}
    inference = pinet_jax.load(checkpoint, **asked).predictor.inference
    assert (inference.oks_threshold, inference.input_size) == (0.5, 64)
    assert inference.scales == (1, 0.5)


def test_a_picture_without_pixels_is_refused(predict):
    with pytest.raises(InputError, match="picture 0: 0 x 5 pixels, so nothing to see"):
        predict(Image.new("RGB", (0, 5)))


def test_the_packages_network_is_loaded_without_a_name():
    predict = pinet_jax.load()
    assert predict.skeleton.name == "coco_17"
    assert predict.predictor.inference.input_size == 384


def test_a_thread_of_pixels_is_refused(predict):
    with pytest.raises(InputError, match="picture 0: 170 x 10 pixels are too elongated"):
        predict(np.zeros((10, 170, 3), np.uint8))


def test_a_picture_of_pillows_is_decoded_once(predict, arrays, tmp_path, monkeypatch):
    path = tmp_path / "one.png"
    Image.fromarray(arrays[1]).save(path)
    decoded = []
    monkeypatch.setattr(
        pictures, "pixels_of", lambda *given: decoded.append(1) or pixels_of(*given)
    )
    predict([Image.open(path), arrays[0]])
    assert decoded == [1]
