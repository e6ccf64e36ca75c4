"""`evaluate` on result files and on checkpoints, as a user calls it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from experiments.evaluate import main
from experiments.scoring import Scoring
from pinet_jax.checkpoints import save_model
from pinet_jax.errors import InputError
from pinet_jax.methods.pinet import PINet
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import shared_data
from tests.pinet_jax.evaluation.crowds import make_crowd
from tests.tiny import MICRO, lively_variables


@pytest.fixture
def files(tmp_path):
    dataset, results = make_crowd(CROWDPOSE_14, seed=6)
    (tmp_path / "annotations.json").write_text(json.dumps(dataset))
    (tmp_path / "results.json").write_text(json.dumps(results))
    (tmp_path / "images").mkdir()
    for image in dataset["images"]:
        pixels = np.full((image["height"], image["width"], 3), 90, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / image["file_name"])
    return tmp_path


def command(folder, *extra):
    return [
        "pinet-jax", "evaluate", "--results", f"{folder}/results.json", "--annotations",
        f"{folder}/annotations.json", "--metric", "crowdpose", "--out", f"{folder}/new/m.json",
        "--resamples", "20", *extra,
    ]  # fmt: skip


def test_figures_table_and_report_from_one_command(files, monkeypatch, capsys):
    other = str(files / "results.json")
    page = files / "new" / "report.html"
    extra = ["--report", str(page), "--images", f"{files}/images", "--compare", other]
    monkeypatch.setattr(sys, "argv", command(files, *extra, "--crowding-bins", "0", "0.5", "1"))
    cli.main()
    figures = json.loads((files / "new" / "m.json").read_text())
    keys = ["AP", "AP50", "AP75", "AR", "AR50", "AR75", "AP_easy", "AP_medium", "AP_hard"]
    assert all(0 <= figures[key] <= 1 for key in keys)
    assert figures["comparison"]["AP"]["difference"] == 0
    assert [part["high"] for part in figures["crowding"]] == [0.5, 1]
    table = capsys.readouterr().out
    assert f"{100 * figures['AP']:.1f}" in table
    assert table in (files / "new" / "m.txt").read_text()
    assert "data:image/jpeg" in page.read_text()
    assert sorted(p.name for p in page.parent.iterdir()) == ["m.json", "m.txt", "report.html"]


@pytest.mark.parametrize(
    ("extra", "status", "message"),
    [
        (["--resamples", "-1"], 2, "--resamples -1"),
        (["--gallery-size", "-1"], 2, "--gallery-size -1"),
        (["--crowding-bins", "0.5"], 2, "--crowding-bins 0.5"),
        (["--data-dir", "d"], 2, "--data-dir does not go with --results"),
        (["--metric", "coco"], 1, "annotation 0 has 42 numbers in keypoints, not 51"),
        (["--skeleton", "absent.json"], 1, "absent.json"),
        (["--compare", "absent.json"], 1, "absent.json: cannot be read"),
        (["--results", "absent.json"], 1, "absent.json: cannot be read"),
        (["--out", "/proc/m.json"], 1, "/proc/m.txt: cannot be written"),
        (["--out", "m.txt"], 2, "--out m.txt"),
        (["--report", "r.html", "--images", "absent"], 1, "absent"),
    ],
)
def test_mistakes_are_one_line(files, monkeypatch, capsys, extra, status, message):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "argv", command(files, *extra))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == status
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("pinet-jax evaluate: ")
    assert error.count("\n") == 1


def test_a_skeleton_file_brings_its_sigmas(tmp_path):
    dataset, results = make_crowd(COCO_17, seed=6)
    for name, content in (("a", dataset), ("r", results)):
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    strict = COCO_17.to_json() | {"name": "strict", "sigmas": [s / 3 for s in COCO_17.sigmas]}
    (tmp_path / "strict.json").write_text(json.dumps(strict))
    aps = []
    for skeleton in (None, tmp_path / "strict.json"):
        main(
            results=tmp_path / "r.json",
            annotations=tmp_path / "a.json",
            metric="coco",
            out=tmp_path / "m.json",
            skeleton=skeleton,
            scoring=Scoring(resamples=0),
        )
        content = json.loads((tmp_path / "m.json").read_text())
        assert content["intervals"] == {}
        aps.append(content["AP"])
    assert aps[1] < aps[0]


def test_nothing_is_written_for_refused_results(files):
    results = json.loads((files / "results.json").read_text())
    results[3]["score"] = float("nan")
    (files / "results.json").write_text(json.dumps(results))
    out = files / "m.json"
    with pytest.raises(InputError, match=r"results\.json: result 3: score is not finite"):
        main(
            results=files / "results.json",
            annotations=files / "annotations.json",
            metric="crowdpose",
            out=out,
        )
    assert not out.exists()


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
        annotations=coco[0],
        images=coco[1],
        out=out,
        input_size=64,
        scoring=Scoring(report=out.with_suffix(".html"), resamples=5, gallery_size=1),
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
    assert "images" in figures["speed"]["time"]
    page = out.with_suffix(".html").read_text()
    assert '"name":"coarse"' in page and '"name":"refined"' in page and '"name":"fused"' in page
    main(
        results=results,
        annotations=coco[0],
        metric="coco",
        out=tmp_path / "again.json",
        scoring=Scoring(resamples=5),
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
        (["--results", "r.json"], "--results needs --annotations and --metric"),
        (["--checkpoint", "c", "--config", "synthetic_tiny"], "name what to test on"),
        (["--checkpoint", "c", "--annotations", "a.json"], "needs --images"),
        (["--checkpoint", "c", "--config", "nothing"], "--config nothing"),
        (["--checkpoint", "c", "--skeleton", "s.json"], "--skeleton does not go with a network"),
        (["--checkpoint", "c", "--dataset", "absent", "--split", "val"], "absent"),
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
