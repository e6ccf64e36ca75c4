"""The small comparison: which networks it trains, and what it makes of their figures."""

import json
import signal

import pytest

from experiments.commands import comparison, small_runs
from experiments.configs import load_config
from experiments.configs.rendered import COMPARED
from experiments.testing.comparison_tables import write_tables
from experiments.training.loop import Stopped
from pinet_jax.errors import UsageError


def figures(ap, *by_crowding):
    bins = [
        {"low": low, "high": low + 0.2, "images": 7, "AP": value}
        for low, value in zip((0.0, 0.2, 0.4), by_crowding, strict=False)
    ]
    return {"AP": ap, "AP50": ap + 0.1, "AR": ap + 0.2, "crowding": bins}


def cells(text, title):
    lines = text.split(title)[1].split("###")[0].splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in rows}


@pytest.fixture
def trained(monkeypatch):
    """Trainings that only note what they were asked for, and tests that find nothing."""
    found = []

    def train(experiment, workdir):
        if len(found) == 8:  # in the second round
            raise Stopped(signal.SIGTERM)
        found.append((workdir.name, experiment))

    def synthesize(*, out, split, **options):
        (out / "annotations").mkdir(parents=True)
        (out / "annotations" / f"person_keypoints_{split}.json").write_text("{}")

    monkeypatch.setattr(small_runs, "train", train)
    monkeypatch.setattr(
        small_runs,
        "evaluate_checkpoint",
        lambda test, out, options: out.write_text(json.dumps(figures(0.1, 0.2, None))),
    )
    monkeypatch.setattr(small_runs.synthesize, "main", synthesize)
    return found


def test_it_goes_on_where_it_was_stopped(trained, tmp_path):
    with pytest.raises(SystemExit, match="143"):
        comparison.main(out=tmp_path, epochs=2, seeds=(0, 1))
    names = [f"{row}_seed{seed}_2epochs" for seed in (0, 1) for row, _ in COMPARED.values()]
    assert [name for name, _ in trained] == names[:8]
    half = cells((tmp_path / "comparison.md").read_text(), "### AP\n")
    assert [half[name][2] for name in COMPARED] == ["2"] + ["1"] * 6
    again = [trained.pop(0) for _ in range(8)]
    comparison.main(out=tmp_path, epochs=2, seeds=(0, 1))
    assert [name for name, _ in trained] == names[8:]
    for name, experiment in [*again, *trained]:
        row, seed, _ = name.rsplit("_", 2)
        assert experiment.model == load_config(row).model
        assert (experiment.training.epochs, f"seed{experiment.training.seed}") == (2, seed)
    assert (tmp_path / "comparison.png").stat().st_size > 0


def test_all_have_one_width_one_recipe_and_the_same_crowds():
    first, *others = (load_config(row) for row, _ in COMPARED.values())
    for other in others:
        assert other.training == first.training
        assert other.synthetic == first.synthetic
        assert other.model.backbone.width == first.model.backbone.width
        assert other.model.backbone.modules == first.model.backbone.modules
        if not other.model.needs_boxes:
            assert other.inference.input_size == first.inference.input_size


def test_leads_are_compared_with_published_ones(tmp_path):
    runs = {
        "PINet": [figures(0.4, 0.5, 0.3), figures(0.5, 0.6, 0.4)],
        "DEKR": [figures(0.3, 0.5, 0.1), figures(0.3, 0.5, 0.1)],
        "HigherHRNet": [figures(0.3, 0.5, 0.1), figures(0.6, 0.5, 0.1)],
        "AE": [figures(0.3, 0.5, 0.1), figures(0.3, 0.5, 0.1)],
        "CID": [figures(0.5, 0.5, 0.1)],
    }
    write_tables(runs, tmp_path)
    text = (tmp_path / "comparison.md").read_text()
    rows = cells(text, "### AP\n")
    assert rows["PINet"][:4] == ["68.9", "59.8", "2", "45.0 ± 7.1"] and rows["PINet"][6:] == [
        "",
        "",
    ]
    assert rows["DEKR"][:3] == ["65.7", "52.2", "2"]
    assert rows["DEKR"][6:] == ["+15.0 ± 7.1", "yes"]
    assert (
        rows["HigherHRNet"][:2] == ["65.9", ""] and rows["HigherHRNet"][7] == "not with every seed"
    )
    assert rows["AE"][:2] == ["", ""] and rows["AE"][7] == ""
    assert rows["CID"][6:] == ["-10.0", "published leads differ"]  # by CrowdPose and OCHuman
    assert cells(text, "(Fig. 5)")["PINet"] == ["55.0 ± 7.1", "35.0 ± 7.1"]


def test_nobody_is_tested_on_what_was_trained_on(tmp_path):
    with pytest.raises(UsageError, match="--test-seed 2: is one of --seeds"):
        comparison.main(out=tmp_path, seeds=(0, 1, 2), test_seed=2)
