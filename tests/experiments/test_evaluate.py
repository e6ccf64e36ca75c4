"""`evaluate` on files, as a user calls it."""

import json
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from experiments.evaluate import main
from experiments.scoring import Scoring
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.pinet_jax.evaluation.crowds import make_crowd


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
    ("extra", "message"),
    [
        (["--resamples", "-1"], "--resamples -1"),
        (["--gallery-size", "-1"], "--gallery-size -1"),
        (["--crowding-bins", "0.5"], "--crowding-bins 0.5"),
        (["--metric", "coco"], "annotation 0 has 42 numbers in keypoints, not 51"),
        (["--skeleton", "absent.json"], "absent.json"),
        (["--compare", "absent.json"], "absent.json: cannot be read"),
        (["--results", "absent.json"], "absent.json: cannot be read"),
        (["--out", "/proc/m.json"], "/proc/m.txt: cannot be written"),
        (["--out", "m.txt"], "--out m.txt"),
        (["--report", "r.html", "--images", "absent"], "absent"),
    ],
)
def test_mistakes_are_one_line(files, monkeypatch, capsys, extra, message):
    monkeypatch.chdir(files)
    monkeypatch.setattr(sys, "argv", command(files, *extra))
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
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
