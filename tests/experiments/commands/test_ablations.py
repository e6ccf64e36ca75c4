"""The small Table 1: which networks it trains, and what it makes of their figures."""

import json

import pytest

from experiments.commands import ablations, small_runs
from experiments.configs import load_config
from experiments.configs.paper_rows import ABLATIONS
from experiments.testing.ablation_tables import write_tables
from pinet_jax.errors import UsageError


def bins(*ap):
    edges = [0.0, 0.2, 0.4]
    return [
        {"low": low, "high": low + 0.2, "images": 7, "AP": value}
        for low, value in zip(edges, ap, strict=False)
    ]


@pytest.fixture
def recorded(monkeypatch):
    """Trainings and tests that only note what they were asked for."""
    trained, tested = [], []

    def train(experiment, workdir):
        workdir.mkdir(parents=True, exist_ok=True)
        trained.append((workdir.name, experiment))

    def evaluate(test, out, options):
        tested.append((out.stem, test.network.checkpoint.name, test.inference.fusion))
        out.write_text(json.dumps({"AP": 0.1, "crowding": bins(0.2, 0.1)}))

    def synthesize(*, out, split, **options):
        (out / "annotations").mkdir(parents=True)
        (out / "annotations" / f"person_keypoints_{split}.json").write_text("{}")

    monkeypatch.setattr(small_runs, "train", train)
    monkeypatch.setattr(small_runs, "evaluate_checkpoint", evaluate)
    monkeypatch.setattr(small_runs.synthesize, "main", synthesize)
    return trained, tested


def test_rows_that_differ_in_their_test_share_a_training(recorded, tmp_path):
    trained, tested = recorded
    ablations.main(out=tmp_path, seeds=(0, 1), epochs=2)
    assert {name for name, _ in trained} == {
        f"{network}_seed{seed}_2epochs"
        for seed in (0, 1)
        for network in (
            "center_unrefined",
            "head_unrefined",
            "keypoint_unrefined",
            "part-small_unrefined",
            "part-large_unrefined",
            "part-large_none",
            "part-large_static",
            "part-large_dynamic",
        )
    }
    for name, experiment in trained:
        assert name.endswith(f"_seed{experiment.training.seed}_2epochs")
        assert experiment.training.epochs == 2
        assert experiment.model.backbone == load_config("synthetic_shallow").model.backbone
        refinement = experiment.model.refinement
        assert refinement is None or refinement.blocks == 2
    assert ("ochuman_spm_seed1_2epochs", "center_unrefined_seed1_2epochs", False) in tested
    assert ("ochuman_spm_pf_seed1_2epochs", "center_unrefined_seed1_2epochs", True) in tested
    assert ("ochuman_seed0_2epochs", "part-large_dynamic_seed0_2epochs", True) in tested
    assert ("ochuman_ppg_pr_seed0_2epochs", "part-large_dynamic_seed0_2epochs", False) in tested
    assert (tmp_path / "ablations.png").stat().st_size > 0

    done = len(trained)
    ablations.main(out=tmp_path, seeds=(0, 1), epochs=2)
    assert len(trained) == done
    ablations.main(out=tmp_path, seeds=(0, 1), epochs=3)  # another budget is another training
    assert len(trained) == 2 * done


def test_steps_are_compared_with_the_papers(tmp_path, capsys):
    rows = dict.fromkeys(row for table in ABLATIONS.values() for row in table)
    ap = {row: [0.3, 0.4] for row in rows}
    ap |= {
        "ochuman_no_graph": [0.1, 0.3],
        "ochuman_static_graph": [0.2, 0.2],
        "ochuman": [0.4, 0.5],
    }
    runs = {
        row: [{"AP": value, "crowding": bins(value, None)} for value in values]
        for row, values in ap.items()
    }
    write_tables(runs, tmp_path)
    out = capsys.readouterr().out
    table = out.split("### graphs")[1].split("###")[0]
    cells = [
        [c.strip() for c in line.split("|")[1:-1]] for line in table.splitlines() if "`" in line
    ]
    assert cells == [
        ["`ochuman_no_graph`", "56.8", "", "20.0 ± 14.1", "", ""],
        [
            "`ochuman_static_graph`",
            "57.7",
            "+0.9",
            "20.0 ± 0.0",
            "+0.0 ± 14.1",
            "not with every seed",
        ],
        ["`ochuman`", "59.8", "+2.1", "45.0 ± 7.1", "+25.0 ± 7.1", "yes"],
    ]
    assert out.split("(Fig. 5)")[1].split("\n\n")[1].splitlines() == [
        "| mean box IoU | 0 - 0.2 (7 images) |",  # no image is in the other bin
        "|---|---|",
        "| SPM | 35.0 ± 7.1 |",
        "| PINet | 45.0 ± 7.1 |",
    ]
    assert json.loads((tmp_path / "ablations.json").read_text())["AP"]["ochuman"] == [40, 50]


def test_a_dataset_that_is_not_rendered_is_refused(tmp_path):
    with pytest.raises(UsageError, match="--config ochuman: is not trained on rendered crowds"):
        ablations.main(out=tmp_path, config="ochuman")


def test_nobody_is_tested_on_what_was_trained_on(tmp_path):
    with pytest.raises(UsageError, match="--test-seed 2: is one of --seeds"):
        ablations.main(out=tmp_path, seeds=(0, 1, 2), test_seed=2)
