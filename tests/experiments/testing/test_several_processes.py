"""An evaluation by two real processes over loopback gives what one gives, each result once."""

import json
import os
import socket
import subprocess
import sys
import time
from collections import Counter

import jax
import numpy as np
import pytest
from PIL import Image

from pinet_jax.checkpoints import save_model
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.skeletons import COCO_17
from tests.conftest import ROOT
from tests.pinet_jax.evaluation.crowds import make_crowd
from tests.tiny import MICRO

# Arguments: the folder, the output, this process's number, how many there are, their port, and
# after how many images this one dies (-1: never).
PROCESS = """
import os, sys
from pathlib import Path
import jax
from experiments.commands.evaluate import main
from experiments.testing.image_sets import SetSource
from experiments.testing.scoring import ScoreOptions
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.evaluation.result_files import PartialResults

folder, out = Path(sys.argv[1]), Path(sys.argv[2])
number, count, port, images_left = map(int, sys.argv[3:])
if count > 1:
    jax.distributed.initialize(
        f"127.0.0.1:{port}", count, number, cluster_detection_method="deactivate"
    )
add = PartialResults.add

def add_or_die(*arguments):
    global images_left
    if images_left == 0:
        os._exit(9)
    images_left -= 1
    add(*arguments)

PartialResults.add = add_or_die
main(
    checkpoint=folder / "micro",
    source=SetSource(annotations=folder / "annotations.json", images=folder),
    out=out,
    inference=PINetInference(input_size=64),
    batch_size=1,
    options=ScoreOptions(resamples=0),
)
"""
# Width and height. All have one network input: processes but the first compile anew every time,
# since JAX keeps the compiled programs of the first alone.
SIZES = [(60, 90), (64, 96), (60, 90), (64, 90), (60, 85), (60, 90), (64, 96)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A micro network, and seven images with annotations."""
    folder = tmp_path_factory.mktemp("evaluation")
    config = PINet(backbone=MICRO, refinement=None)
    rng = np.random.default_rng(0)

    def enlarged(leaf):
        if leaf.ndim < 4:
            return leaf
        return (rng.normal(size=leaf.shape) * np.sqrt(2 / np.prod(leaf.shape[:-1]))).astype("f4")

    save_model(folder / "micro", config, jax.tree.map(enlarged, init_variables(config)))
    annotations, _ = make_crowd(COCO_17, images=len(SIZES))
    for image, (width, height) in zip(annotations["images"], SIZES, strict=True):
        image |= {"width": width, "height": height, "file_name": f"{image['id']}.png"}
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])
    (folder / "annotations.json").write_text(json.dumps(annotations))
    return folder


def start(folder, out, number, count, port, images_left=-1):
    arguments = map(str, (folder, out, number, count, port, images_left))
    return subprocess.Popen(
        [sys.executable, "-c", PROCESS, *arguments],
        cwd=ROOT,
        env=os.environ
        | {
            "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
            "JAX_PLATFORMS": "cpu",
            "JAX_COMPILATION_CACHE_DIR": str(ROOT / ".cache" / "jax-tests"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process):
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    return output


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


@pytest.fixture(scope="module")
def alone(folder):
    """The result file of one process."""
    out = folder / "alone" / "m.json"
    finish(start(folder, out, 0, 1, 0))
    return read(out)


def read(out):
    return json.loads(out.with_suffix(".results.json").read_text())


def test_two_processes_write_what_one_writes(folder, alone):
    assert Counter(entry["image_id"] for entry in alone).keys() == set(range(100, 107))
    out, port = folder / "two" / "m.json", free_port()
    first, second = (start(folder, out, number, 2, port) for number in range(2))
    said = finish(first)
    assert "m.results.json" in said
    assert "m.results.json" not in finish(second)
    assert read(out) == alone
    figures = json.loads(out.read_text())
    assert figures["speed"]["processes"].startswith("2")
    assert figures["speed"]["time"].split(" for ")[1].startswith("4 images")  # of seven
    assert {file.name for file in out.parent.iterdir()} == {"m.json", "m.txt", "m.results.json"}


def test_a_killed_process_leaves_what_the_next_run_goes_on_from(folder, alone):
    out, port = folder / "killed" / "m.json", free_port()
    first, second = start(folder, out, 0, 2, port), start(folder, out, 1, 2, port, images_left=1)
    second.communicate(timeout=200)
    assert second.returncode == 9
    own = out.with_name("m.partial.jsonl")
    deadline = time.monotonic() + 200
    while not own.exists() or own.read_text().count("\n") < 1 + 4:  # its whole share
        assert time.monotonic() < deadline, first.poll()
        time.sleep(0.1)
    first.kill()
    first.communicate()
    assert not out.exists() and not out.with_suffix(".results.json").exists()
    finish(start(folder, out, 0, 1, 0))
    assert read(out) == alone
    timing = json.loads(out.read_text())["speed"]["time"]
    assert timing.split(" for ")[1].startswith("2 images")
    assert {file.name for file in out.parent.iterdir()} == {"m.json", "m.txt", "m.results.json"}
