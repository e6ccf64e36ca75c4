"""Exported programs: what the Predictor finds, to the last bit, and without the package."""

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from pinet_jax.errors import InputError, UsageError
from pinet_jax.frames import FrameBatch
from pinet_jax.inference import Predictor
from pinet_jax.interop.stablehlo import load
from pinet_jax.interop.stablehlo_writer import write_program_file
from pinet_jax.methods import METHODS
from pinet_jax.methods.cid import CID
from pinet_jax.methods.dekr import DEKR
from pinet_jax.methods.higher_hrnet import HigherHRNet
from tests import tiny
from tests.conftest import ROOT
from tests.pinet_jax.methods.test_simple_baseline import HRNET, RESNET

METHOD = tiny.MODEL
FINEST = dataclasses.replace(tiny.MICRO, concatenated=False)
INFERENCE = dataclasses.replace(METHOD.inference_type(), input_size=64)
EVERY_METHOD = [
    METHOD,
    RESNET,
    pytest.param(HRNET, marks=pytest.mark.slow),
    pytest.param(DEKR(backbone=tiny.MICRO, offset_channels=3), marks=pytest.mark.slow),
    pytest.param(CID(backbone=tiny.MICRO), marks=pytest.mark.slow),
    pytest.param(HigherHRNet(backbone=FINEST, blocks=1), marks=pytest.mark.slow),
]
# Run where the package's networks and what they are made of cannot be imported.
ALONE = """
import sys
import importlib.abc

class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        allowed = ("pinet_jax", "pinet_jax.interop", "pinet_jax.interop.stablehlo",
                   "pinet_jax.errors")
        if name.split(".")[0] in (
            "flax", "cv2", "optax", "orbax", "flatbuffers", "pinet_jax"
        ) and (
            name not in allowed
        ):
            raise ImportError(name)

sys.meta_path.insert(0, Refuse())
import numpy as np
from pinet_jax.interop.stablehlo import load
network = load(sys.argv[1])
pixels = np.load(sys.argv[2])
np.savez(sys.argv[3], **network(pixels)["final"])
print(network.metadata["keypoints"][0])
"""


def frames(shapes, count=3):
    rng = np.random.default_rng(0)
    pixels = tuple(rng.integers(0, 256, (count, *shape, 3), np.uint8) for shape in shapes)
    return FrameBatch(pixels, rng.normal(size=(count, 2, 3)).astype(np.float32))


def small_inference(method):
    inference = method.inference_type()
    if method.needs_boxes:
        return inference
    return dataclasses.replace(inference, input_size=64)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    """PINet at two test scales, for every platform; and its variables."""
    path = tmp_path_factory.mktemp("programs") / "network.stablehlo"
    variables = tiny.lively_variables(METHOD)
    write_program_file(path, METHOD, variables, INFERENCE, sizes=[(64, 64), (64, 128)])
    return path, variables


def assert_identical(found, expected):
    assert found.keys() == expected.keys()
    for stage, poses in expected.items():
        assert poses.mask.any()
        for name, array in poses._asdict().items():
            np.testing.assert_array_equal(found[stage][name], array, strict=True)


def test_every_method_is_tried():
    tried = {type(getattr(m, "values", (m,))[0]) for m in EVERY_METHOD}
    assert tried == set(METHODS)


@pytest.mark.parametrize("method", EVERY_METHOD, ids=lambda m: type(m).__name__)
def test_a_program_finds_what_the_predictor_finds_to_the_last_bit(method, tmp_path):
    inference, variables = small_inference(method), tiny.lively_variables(method)
    sizes = () if method.needs_boxes else [(64, 64)]
    write_program_file(tmp_path / "n", method, variables, inference, platforms=["cpu"], sizes=sizes)
    batch = frames(method.frame_shapes((64, 64), inference))
    expected = Predictor(method, variables, inference).run(batch)
    assert_identical(load(tmp_path / "n")(*batch.pixels, matrix=batch.matrix), expected)


def test_any_number_of_frames_of_any_size_of_the_file(file):
    path, variables = file
    network, predictor = load(path), Predictor(METHOD, variables, INFERENCE)
    for count, size in ((1, (64, 64)), (4, (64, 128))):
        batch = frames([size], count)
        assert_identical(network(*batch.pixels), predictor.run(batch))


def test_jax_and_numpy_are_enough(file, tmp_path):
    path, variables = file
    batch = frames([(64, 64)], 2)
    np.save(tmp_path / "pixels.npy", batch.pixels[0])
    call = [sys.executable, "-c", ALONE, path, tmp_path / "pixels.npy", tmp_path / "poses.npz"]
    done = subprocess.run(
        list(map(str, call)), cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "nose"
    poses = Predictor(METHOD, variables, INFERENCE).run(batch)["final"]
    with np.load(tmp_path / "poses.npz") as found:
        np.testing.assert_allclose(found["keypoints"], poses.keypoints, rtol=0, atol=1e-3)


def test_the_metadata_say_how_to_use_it(file):
    metadata = load(file[0]).metadata
    assert json.loads(json.dumps(metadata)) == metadata
    assert metadata["keypoints"] == list(METHOD.skeleton.keypoints)
    assert metadata["frame_sizes"] == [[[64, 64]], [[64, 128]]]
    assert metadata["platforms"] == ["cpu", "cuda", "tpu"]


def test_frames_that_there_is_no_program_for(file, tmp_path):
    network = load(file[0])
    with pytest.raises(InputError, match="no program for cpu/32x32, only for cpu/64x64"):
        network(np.zeros((1, 32, 32, 3), np.uint8))
    for wrong in (np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)):
        with pytest.raises(InputError, match=r"frames are .*; give uint8 \[B, H, W, 3\]"):
            network(wrong)
    with pytest.raises(InputError, match="no frames"):
        network()
    out = tmp_path / "two.stablehlo"
    write_program_file(
        out, METHOD, file[1], INFERENCE, sizes=[(64, 64)], platforms=["cpu"], batch_size=2
    )
    with pytest.raises(InputError, match="a batch of 3: the program takes 2"):
        load(out)(np.zeros((3, 64, 64, 3), np.uint8))


def test_a_file_of_a_later_format_is_refused(file, tmp_path):
    with np.load(file[0]) as content:
        arrays = dict(content)
    metadata = json.loads(arrays["metadata"].tobytes()) | {"format": 2}
    arrays["metadata"] = np.frombuffer(json.dumps(metadata).encode(), np.uint8)
    np.savez(tmp_path / "later.npz", **arrays)
    with pytest.raises(InputError, match=r"later\.npz: made by a newer pinet-jax"):
        load(tmp_path / "later.npz")


def test_files_and_sizes_that_are_none(tmp_path):
    (tmp_path / "text").write_text("no program")
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    for name in ("text", "other.npz"):
        with pytest.raises(InputError, match=f"{name}: no file of `pinet-jax export"):
            load(tmp_path / name)
    with pytest.raises(InputError, match=r"absent: no such file"):
        load(tmp_path / "absent")
    with pytest.raises(UsageError, match=r"--sizes 60 64: no frame has it; try 64 128"):
        write_program_file(tmp_path / "n", METHOD, {}, INFERENCE, sizes=[(60, 64)])
