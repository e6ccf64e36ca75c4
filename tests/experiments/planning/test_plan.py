"""`plan`: what is sent, floors and advice by hand, batches as the data give them; and libtpu."""

import contextlib
import dataclasses
import importlib.util
import json
import re
import subprocess
import sys
from importlib import metadata

import jax
import numpy as np
import pytest

from data_pipelines.config import DataConfig, PersonDataConfig
from data_pipelines.input_pipeline import batches, training_batches
from data_pipelines.person_batches import PreparedCrops, find_persons
from experiments.configs import load_config
from experiments.planning.chips import CHIPS, Chip, Pod, check_libtpu, open_pod
from experiments.planning.collectives import Collective, find_collectives
from experiments.planning.plan import Plan, Work, floors, too_large
from experiments.planning.programs import batch_shapes
from experiments.planning.summary import as_json, as_text, whole_training
from experiments.planning.traffic import Traffic, traffic_by_layer
from pinet_jax.errors import InputError, UsageError
from tests.conftest import ROOT
from tests.data_pipelines.memory_records import make_records
from tests.data_pipelines.test_person_batches import annotated
from tests.tiny import experiment

HLO = """
ENTRY %main (p: f32[8]) -> f32[8] {
  %all-reduce.1 = (f32[8]{0:T(128)S(1)}, bf16[3,3,4,4]{3,2,1}, /*index=5*/f32[]) all-reduce(%a, %b)
  %all-reduce-start.2 = f32[12,34]{1,0:T(8,128)} all-reduce-start(%c), channel_id=3
  %all-reduce-done.2 = f32[12,34]{1,0:T(8,128)} all-reduce-done(%all-reduce-start.2)
  %get-tuple-element.7 = f32[8]{0} get-tuple-element(%all-reduce.1), index=0
  ROOT %all-gather.3 = pred[16]{0} all-gather(%d), dimensions={0}
}
"""


# 100 bytes of slow memory, whatever is beside it.
LAYERS = {"stem, forward": Traffic(7, 300, 60, 0), "rest": Traffic(7, 300, 40, 0)}


def pod(devices=4, name="v5e:2x2"):
    peaks = Chip(arithmetic=100.0, memory=1000.0, bandwidth=10.0, links=5.0)
    return Pod(name, [None] * devices, devices, 1, peaks)


def test_collectives_are_found_once_each():
    assert find_collectives(HLO) == [
        Collective("all-reduce", ("f32", "bf16"), 32 + 288 + 4),
        Collective("all-reduce", ("f32",), 4 * 12 * 34),
        Collective("all-gather", ("pred",), 16),
    ]


def test_traffic_is_found_by_layers():
    """A map of 32 channels in tiles of 128; a copy into fast memory without a name."""
    rows = [
        "%p.1 = bf16[8,32]{1,0:T(8,128)(2,1)} parameter(0)",
        "%copy-start.1 = (bf16[8,32]{1,0:T(8,128)(2,1)S(1)}, bf16[8,32]{1,0:T(8,128)(2,1)}, "
        "u32[]{:S(2)}) copy-start(%p.1)",
        "%copy-done.1 = bf16[8,32]{1,0:T(8,128)(2,1)S(1)} copy-done(%copy-start.1)",
        "%joined = bf16[8,32]{1,0:T(8,128)(2,1)S(1)} custom-call(%copy-done.1), "
        'custom_call_target="ConcatBitcast"',
        "%fusion.1 = (bf16[8,32]{1,0:T(8,128)(2,1)}, /*index=1*/f32[32]{0:T(128)}) "
        "fusion(%joined), kind=kOutput, calls=%inner, "
        'metadata={op_name="jit(step)/transpose(jvp(Net))/backbone/stage4.0/branches.0.3/conv"}',
        "%part = bf16[8,32]{1,0:T(8,128)(2,1)} get-tuple-element(%fusion.1), index=0",
        "%while.1 = f32[8]{0} while(%part), condition=%test, body=%passed",
        'ROOT %mul = f32[8]{0} multiply(%part, %part), metadata={op_name="jit(step)/mul"}',
    ]
    text = (
        "HloModule jit_step\n\n%inner (q: f32[9]) -> f32[9] {\n  %q = f32[9]{0} add(%q, %q)\n}\n\n"
        "%passed.clone (q: f32[9]) -> f32[9] {\n  ROOT %r.1 = f32[9]{0} add(%r, %r)\n}\n\n"
        "%passed (s: f32[25]) -> f32[25] {\n"
        '  ROOT %s.1 = f32[25]{0} add(%s, %s), metadata={op_name="jit(step)/jvp(PINet)/add"}\n}\n\n'
        "ENTRY %main (p: f32[8]) -> f32[8] {\n  "
    )
    map_, statistics, scalars = (512, 2048), (128, 512), (32, 32)  # entries alone, and in tiles
    assert traffic_by_layer(text + "\n  ".join(rows) + "\n}\n") == {
        "branch 0, backward": Traffic(
            needed=4 * map_[0] + statistics[0],
            padded=4 * map_[1] + statistics[1],
            slow=2 * map_[1] + statistics[1],
            moved=2 * map_[1],
        ),
        "targets and losses, forward": Traffic(100, 100, 100),
        "rest": Traffic(*(2 * a + b for a, b in zip(map_, scalars, strict=True)), 2 * 2048 + 32),
    }


def test_floors_by_hand():
    sent = [Collective("all-reduce", ("f32",), 10), Collective("all-gather", ("f32",), 20)]
    found = floors(
        Work(500.0, counted_bytes=300.0, collectives=sent, memory=1, layers=LAYERS), pod()
    )
    assert found.arithmetic == 5
    assert found.memory == 10
    assert found.links == pytest.approx((2 * 10 + 20) * 3 / 4 / 5)  # 6 seconds
    assert found.hops == pytest.approx(2 * 2 * 1e-6)  # across the corner of two by two
    assert found.call == 10
    assert found.scaling == pytest.approx(10 / 16, rel=1e-4)


def test_hours_and_the_table(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda package: "1.0")  # libtpu need not be here
    work = Work(500.0, counted_bytes=300.0, collectives=[], memory=500, layers=LAYERS)
    config = experiment(batch_size=4, epochs=3)  # of 8 images each
    plan = Plan("train step", pod(), 4, work, 1.0)
    whole = whole_training(plan, config, None)
    assert (whole.steps, whole.hours, whole.chip_hours) == (6, 60 / 3600, 240 / 3600)
    assert whole_training(plan, load_config("crowdpose"), None) is None
    text = as_text(plan, whole, 302.0)
    assert "10000.00 ms, 100 % of the floor" in text
    assert "30000.0 ms if all were slow" in text
    content = json.loads(json.dumps(as_json(plan, config, whole, 302.0)))
    assert content["device"]["share_of_memory"] == 0.5
    assert content["experiment"]["training"]["batch_size"] == 4
    assert (content["images_a_call"], content["images_a_device"]) == (4, 1)
    assert "6 steps, at least 0.0167 hours, 0.0667 chip-hours; by XLA's count 0.05 and 0.2" in text


@pytest.mark.parametrize(
    "message",
    [
        "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO "
        "temporaries (30.00G) exceeds available HBM (15.00G).",
        "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 30.00G of 15.00G hbm.",
    ],
)
def test_what_does_not_fit_names_what_would(message):
    config = experiment(batch_size=64)
    (line,) = too_large(message, config, pod()).splitlines()
    assert "needs 30.0 of 15.0 GiB a device for 16 images" in line
    # The state is next to nothing, so half of the images fit, less a rounding.
    assert "--training.accumulate 4 (about 4 images at once)" in line
    assert "--training.batch-size 28 (about 7 a device)" in line
    assert "--training.remat" in line and "--training.bfloat16" in line
    with pytest.raises(InputError, match="refuses the program: INTERNAL: something"):
        too_large("INTERNAL: something\nelse", config, pod())


@pytest.mark.parametrize("name", ["v5e", "v9:2x2", "v5e:2", "h100:8", "v5e:2x2x2x2"])
def test_pods_that_are_none(name):
    with pytest.raises(UsageError, match=f"--topology {name}: give v4, v5e, v5p, v6e and"):
        open_pod(name)


@pytest.mark.parametrize("fine", [False, True])
def test_a_batch_is_what_the_records_give(fine):
    data = DataConfig(input_size=64, fine_valid_mask=fine)
    config = dataclasses.replace(experiment(), synthetic=None, data=data)
    stream = training_batches(make_records(4), config.data, batch_size=4, seed=0)
    with contextlib.closing(stream):
        given = next(stream)
    assert_same_shapes(batch_shapes(config), given)
    assert set(given) - set(batch_shapes(config)) == {"image_id"}


def test_a_batch_of_persons_is_what_the_records_give(tmp_path):
    config = load_config("simple_baseline_coco")
    training = dataclasses.replace(config.training, batch_size=4)
    config = dataclasses.replace(config, training=training)
    assert isinstance(config.data, PersonDataConfig)
    records = annotated(make_records(4), tmp_path)
    persons = find_persons(records.annotations_file)
    shape = config.model.crop_shape
    stream = batches(PreparedCrops(records, persons, config.data, shape, seed=0), batch_size=4)
    with contextlib.closing(stream):
        assert_same_shapes(batch_shapes(config), next(stream))
    assert set(config.model.batch_arrays) == set(batch_shapes(config))


def assert_same_shapes(planned, given):
    for name, array in planned.items():
        assert (array.shape, array.dtype) == (given[name].shape, given[name].dtype), name


@pytest.mark.parametrize("name", ["photographs", "synthetic_tiny"])
def test_a_batch_that_is_made_on_devices_has_what_the_method_reads(name):
    config = load_config(name)
    found = batch_shapes(config)
    assert set(config.model.batch_arrays) <= set(found)
    assert {len(x.shape) and x.shape[0] for x in found.values()} == {config.training.batch_size}
    assert isinstance(found["image"], jax.ShapeDtypeStruct) and found["image"].dtype == np.uint8


def test_the_libtpu_of_another_jax_is_refused():
    needed = [r for r in metadata.requires("jax") if r.startswith("libtpu==")]
    (version,) = re.findall(r"==([\d.]+)\.\*", needed[0])  # such as 0.0.42.*
    check_libtpu(f"{version}.1")
    with pytest.raises(UsageError, match=rf"libtpu 0\.0\.1 is installed.*needs =={version}\.\*"):
        check_libtpu("0.0.1")


# With libtpu, in processes of their own: it stays in the one that loads it.

needs_libtpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None,
    reason="needs libtpu: pip install 'pinet-jax[plan]'",
)
CONFIG = """
import dataclasses
from data_pipelines.config import DataConfig
from tests.tiny import experiment

def get_config():
    config = experiment(batch_size={batch}, bfloat16=True)
    return {config}
"""


def plan(tmp_path, config, *flags):
    file = tmp_path / "micro.py"
    file.write_text(config)
    call = [sys.executable, "-m", "experiments.cli", "plan", "--config", str(file), *flags]
    return subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)


@needs_libtpu
def test_a_step_that_does_not_fit_is_one_line(tmp_path):
    """256 images of 512 pixels a chip."""
    changed = "dataclasses.replace(config, synthetic=None, data=DataConfig())"
    done = plan(tmp_path, CONFIG.format(batch=1024, config=changed), "--topology", "v5e:2x2")
    assert done.returncode == 1 and not done.stdout
    (line,) = done.stderr.splitlines()
    assert line.startswith("pinet-jax plan: v5e:2x2: the train step needs ")
    assert "try --training.remat, or --training.accumulate " in line


@needs_libtpu
@pytest.mark.slow
@pytest.mark.parametrize(
    ("topology", "chips", "kind"), [("v5e:2x2", 4, "v5e"), ("v6e:16x16", 256, "v6e")]
)
def test_a_micro_network_on_a_pod(tmp_path, topology, chips, kind):
    out = tmp_path / "plan.json"
    config = CONFIG.format(batch=2 * chips, config="config")
    done = plan(tmp_path, config, "--topology", topology, "--out", str(out))
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert (figures["chips"], figures["images_a_call"]) == (chips, 2 * chips)
    device = figures["device"]
    assert tuple(device["peaks"].values()) == dataclasses.astuple(CHIPS[kind])
    assert 0 < device["memory_bytes"] < device["peaks"]["memory_bytes"]
    assert device["operations"] > 0
    assert 0 < device["slow_memory_traffic_bytes"] < device["counted_traffic_bytes"]
    assert {"stem, forward", "branch 0, backward", "refinement, backward"} <= set(device["layers"])
    kinds = {entry["kind"] for entry in device["collectives"]["kinds"]}
    assert kinds == {"all-reduce"}
    assert figures["whole_training"]["steps"] == -(-16 // (2 * chips))
    assert "floor of a call" in done.stdout


@needs_libtpu
@pytest.mark.slow
def test_statistics_of_a_chips_own_images_cost_nothing_on_256_chips(tmp_path):
    """Left are gradients in two dtypes, with them losses and running statistics, and counts."""
    counts = {}
    for name, flags in {"all": (), "own": ("--training.batch-norm.group-size", "2")}.items():
        out = tmp_path / f"{name}.json"
        config = CONFIG.format(batch=512, config="config")
        done = plan(tmp_path, config, "--topology", "v5e:16x16", "--out", str(out), *flags)
        assert done.returncode == 0, done.stderr
        counts[name] = json.loads(out.read_text())["device"]["collectives"]["count"]
    assert counts["own"] <= 4 < counts["all"]


@needs_libtpu
@pytest.mark.slow
def test_inference_exchanges_nothing(tmp_path):
    out = tmp_path / "plan.json"
    config = CONFIG.format(batch=8, config="config")
    flags = ("--topology", "v5e:2x2", "--predict", "--out", str(out))
    done = plan(tmp_path, config, *flags)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())
    assert figures["images_a_call"] == 32 and figures["whole_training"] is None
    assert figures["device"]["collectives"]["count"] == 0
