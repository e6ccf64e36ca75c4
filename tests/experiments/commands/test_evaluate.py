"""`evaluate` on checkpoints, as a user calls it."""

import dataclasses
import functools
import importlib
import json
import sys

import pytest

from experiments import cli
from experiments.commands import score
from experiments.commands.evaluate import main
from experiments.configs import load_config
from experiments.testing.image_sets import SetSource
from experiments.testing.scoring import ScoreOptions
from pinet_jax.checkpoints import save_model
from pinet_jax.methods.pinet import PINet, PINetInference
from tests.conftest import shared_data
from tests.tiny import MICRO, lively_variables


@pytest.fixture(scope="module")
def micro(tmp_path_factory):
    """A checkpoint of a micro network."""
    config = PINet(backbone=MICRO)
    path = tmp_path_factory.mktemp("model") / "micro"
    save_model(path, config, lively_variables(config))
    return path


@pytest.fixture
def coco(tmp_path):
    """Four images of COCO: annotations and the folder."""
    content = json.loads(
        shared_data("coco", "annotations", "person_keypoints_val2017.json").read_text()
    )
    content["images"] = content["images"][:4]
    ids = {image["id"] for image in content["images"]}
    content["annotations"] = [p for p in content["annotations"] if p["image_id"] in ids]
    path = tmp_path / "person_keypoints_val2017.json"
    path.write_text(json.dumps(content))
    return path, shared_data("coco", "val2017")


def run_checkpoint(checkpoint, coco, out, **options):
    main(
        checkpoint=checkpoint,
        source=SetSource(annotations=coco[0], images=coco[1]),
        out=out,
        inference=PINetInference(input_size=64),
        options=ScoreOptions(report=out.with_suffix(".html"), resamples=5, gallery_size=1),
        **options,
    )


def test_a_checkpoint_gives_the_figures_of_its_own_result_file(micro, coco, tmp_path, capsys):
    out = tmp_path / "out" / "m.json"
    run_checkpoint(micro, coco, out, batch_size=2)
    figures = json.loads(out.read_text())
    results = out.with_suffix(".results.json")
    assert figures["poses"] == len(json.loads(results.read_text())) > 0
    assert figures["metric"] == "coco"
    assert figures["protocol"]["ground-truth boxes"] == "none"
    assert figures["protocol"]["input size"] == "64"
    assert "images" in figures["speed"]["time"]
    page = out.with_suffix(".html").read_text()
    assert '"name":"coarse"' in page and '"name":"refined"' in page and '"name":"final"' in page
    score.main(
        results=results,
        annotations=coco[0],
        metric="coco",
        out=tmp_path / "again.json",
        options=ScoreOptions(resamples=5),
    )
    again = json.loads((tmp_path / "again.json").read_text())
    assert {k: again[k] for k in ("AP", "AR", "intervals", "crowding")} == {
        k: figures[k] for k in ("AP", "AR", "intervals", "crowding")
    }
    names = {path.name for path in out.parent.iterdir()}
    assert names == {"m.json", "m.txt", "m.html", "m.results.json"}


def test_images_without_annotations_give_the_servers_archive(micro, coco, tmp_path, capsys):
    content = json.loads(coco[0].read_text())
    del content["annotations"]
    listed = tmp_path / "image_info_test-dev2017.json"
    listed.write_text(json.dumps(content))
    out = tmp_path / "out" / "m.json"
    run_checkpoint(micro, (listed, coco[1]), out, submission="pinet")
    archive = "person_keypoints_test-dev2017_pinet_results.zip"
    assert {path.name for path in out.parent.iterdir()} == {"m.results.json", archive}
    assert archive in capsys.readouterr().out


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ([], "name what to test on"),
        (["--checkpoint", "c", "--results", "r"], "--checkpoint does not go with --results"),
        (["--checkpoint", "c", "--config", "synthetic_tiny"], "name what to test on"),
        (["--config", "photographs"], "name what to test on"),
        (["--config", "synthetic_tiny"], "--config synthetic_tiny: give its --checkpoint"),
        (["--annotations", "a.json"], "--annotations needs --images"),
        (["--checkpoint", "c", "--config", "nothing"], "--config nothing"),
        (["--dataset", "absent", "--split", "val"], "absent"),
        (["--annotations", "a", "--images", "i", "--split", "val"], "--split does not go with"),
        (["--out", "m.txt"], "--out m.txt"),
        (["--scales", "0.5"], "--scales"),
        (["--batch-size", "0"], "--batch-size 0"),
    ],
)
def test_incomplete_calls_are_one_line(tmp_path, monkeypatch, capsys, extra, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "argv", ["pinet-jax", "evaluate", "--out", "m.json", *extra])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == (1 if "absent" in message else 2)
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "differs"),
    [
        ([], {}),
        (["--scales", "0.5", "1"], {"scales": (0.5, 1.0)}),
        (["--fusion", "--input-size", "256"], {"fusion": True, "input_size": 256}),
    ],
)
@pytest.mark.parametrize("name", ["evaluate", "predict"])
def test_flags_replace_single_fields_of_the_procedure(monkeypatch, name, flags, differs):
    """An unfused row is tested unfused, and a CrowdPose network with CrowdPose's factor."""
    module = importlib.import_module(f"experiments.commands.{name}")
    seen = []
    main = functools.wraps(module.main)(lambda *_, **given: seen.append(given["inference"]))
    monkeypatch.setattr(module, "main", main)
    for config in ("ochuman_spm", "crowdpose"):
        pictures = ["a.jpg"] * (name == "predict")
        cli.run(name, [*pictures, "--out", "m.json", "--config", config, *flags])
        wanted = load_config(config).inference
        assert seen.pop() == dataclasses.replace(wanted, **differs)
    assert not load_config("ochuman_spm").inference.fusion
    assert load_config("crowdpose").inference.scale_decrease == 0.8
