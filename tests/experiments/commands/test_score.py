"""`score` on result files, as a user calls it, also in its older spelling."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from experiments import cli
from experiments.commands.score import main
from experiments.testing.scoring import ScoreOptions
from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.conftest import ROOT, shared_data
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


def command(folder, *extra, name="score"):
    return [
        "pinet-jax", name, "--results", f"{folder}/results.json", "--annotations",
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
        (["--metric", "coco"], 1, "does --metric or --skeleton fit this file?"),
        (["--skeleton", "absent.json"], 1, "absent.json"),
        (["--compare", "absent.json"], 1, "absent.json: not readable"),
        (["--results", "absent.json"], 1, "absent.json: not readable"),
        (["--annotations", "absent.json"], 1, "absent.json: not readable"),
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
    assert error.startswith("pinet-jax score: ")
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
            options=ScoreOptions(resamples=0),
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
    with pytest.raises(InputError, match=r"results\.json: result 3: score is no finite number"):
        main(
            results=files / "results.json",
            annotations=files / "annotations.json",
            metric="crowdpose",
            out=out,
        )
    assert not out.exists()


def test_the_older_spelling_goes_on_working(files, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", command(files, name="evaluate"))
    cli.main()
    assert json.loads((files / "new" / "m.json").read_text())["metric"] == "crowdpose"
    monkeypatch.setattr(sys, "argv", command(files, "--data-dir", "d", name="evaluate"))
    with pytest.raises(SystemExit):
        cli.main()
    error = capsys.readouterr().err
    assert error == ("pinet-jax evaluate: --data-dir does not go with --results; leave one out\n")


def test_figures_come_without_jax_tensorflow_or_pictures(files):
    script = (
        "import sys\n"
        "from experiments import cli\n"
        "cli.main()\n"
        "heavy = {'jax', 'flax', 'tensorflow', 'cv2', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    call = [sys.executable, "-c", script, *command(files)[1:]]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_area_of_0_gives_the_boxes_figures(tmp_path, capsys):
    """Exporters write 0 for people who have keypoints alone; it would find nobody."""
    folder = shared_data("cases", "results_files")
    aps = {}
    for truth in ("gt", "gt_area0", "gt_noarea"):
        main(
            results=folder / "half_pixel.json",
            annotations=folder / f"{truth}.json",
            metric="coco",
            out=tmp_path / f"{truth}.json",
            options=ScoreOptions(resamples=0),
        )
        aps[truth] = json.loads((tmp_path / f"{truth}.json").read_text())["AP"]
        said = "that of their box stands in" in capsys.readouterr().err
        assert said == (truth != "gt")
    assert aps["gt"] == pytest.approx(0.887, abs=5e-4)
    assert aps["gt_area0"] == aps["gt_noarea"] > aps["gt"]  # a box is larger than its person


@pytest.mark.parametrize("truth", ["gt_crowdnull", "gt_catlist"])
def test_values_of_another_kind_are_one_line(tmp_path, truth):
    folder = shared_data("cases", "results_files")
    with pytest.raises(InputError, match=rf"{truth}\.json: annotation \d+: (iscrowd|category_id)"):
        main(
            results=folder / "perfect.json",
            annotations=folder / f"{truth}.json",
            metric="coco",
            out=tmp_path / "m.json",
        )
