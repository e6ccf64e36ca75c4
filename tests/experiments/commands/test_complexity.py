"""`complexity` on the command line."""

import sys

import pytest

from experiments import cli
from experiments.commands import complexity
from experiments.commands.complexity import all_systems, one_network
from experiments.configs.paper_rows import SYSTEMS
from pinet_jax.complexity import ByLayer, Complexity

PARAMETERS = {
    "spm_coco": 29_330_548,
    "dekr_coco": 29_561_182,
    "higher_hrnet_coco": 28_645_331,
    "ae_coco": 28_536_674,
    "cid_coco": 29_363_087,
    "simple_baseline_coco": 33_999_697,
    "topdown_hrnet_coco": 28_536_113,
}


def test_rows_and_sums():
    counts = {
        "backbone": Complexity(10_000_000, 40_000_000_000, 1_000_000_000, 39.5e9),
        "pose generation": Complexity(2_000_000, 2_000_000_000, 0, 2e9),
        "refinement": Complexity(1_000_000, 3_000_000_000, 0, 3.25e9),
    }
    lines = one_network(counts, ["Refinement: of 90 poses."]).splitlines()
    rows = {line[:20].strip(): line[20:].split() for line in lines}
    assert rows["refinement"] == ["1.00", "3.00", "3.25"]
    assert rows["without refinement"] == ["12.00", "42.00", "41.50"]
    assert rows["all"] == ["13.00", "45.00", "44.75"]
    assert rows["PINet"] == ["29.4", "42.4"]
    text = " ".join(lines)
    assert "1.00 G with the zeros" in text and "0.75 G for upsampling" in text and "90" in text


def test_a_network_without_refinement():
    counts = {"backbone": Complexity(1, 2, 0, 2), "pose generation": Complexity(1, 2, 0, 2)}
    rows = [line.split("  ")[0] for line in one_network(counts).splitlines()]
    assert "all" in rows
    assert "refinement" not in rows and "without refinement" not in rows


@pytest.mark.parametrize(
    ("size", "message"), [(["500"], "--size 500 500"), (["32", "32", "32"], "--size takes")]
)
def test_wrong_sizes_are_one_line(monkeypatch, capsys, size, message):
    argv = ["pinet-jax", "complexity", "--config", "coco", "--size", *size]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    out, error = capsys.readouterr()
    assert stop.value.code == 2
    assert message in error and error.count("\n") == 1 and not out


def call(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["pinet-jax", "complexity", *arguments])
    cli.main()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--table", "--config", "coco"], "give --config or --table"),
        ([], "give --config or --table"),
        (["--table", "--size", "64"], "leave --size and --model out"),
        (["--table", "--model.backbone.width", "48"], "leave --size and --model out"),
    ],
)
def test_calls_that_make_no_sense_are_one_line(monkeypatch, capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        call(monkeypatch, *arguments)
    assert stop.value.code == 2 and message in capsys.readouterr().err


def test_fields_of_the_network_are_flags(monkeypatch, capsys):
    seen = {}

    def count(model, shape):
        seen.update(model=model, shape=shape)
        return {"all of it": Complexity(28_645_331, 2, 0, 2)}

    monkeypatch.setattr(complexity, "count_complexity", count)
    call(monkeypatch, "--config", "higher_hrnet_crowdpose", "--model.backbone.width", "48")
    assert seen["model"].backbone.width == 48 and seen["model"].skeleton.num_keypoints == 14
    assert seen["shape"] == (512, 512)
    assert "higher_hrnet_crowdpose: 28,645,331 parameters" in capsys.readouterr().out


def test_all_systems_stand_beside_the_papers_table():
    counts = {name: {"network": ByLayer(29_000_000, 40 * 10**9, 0)} for name in SYSTEMS}
    counts["PINet"]["refinement"] = ByLayer(2_000_000, 2 * 10**9, 0)
    lines = all_systems(counts).splitlines()
    rows = {line[:18].strip(): line[18:].split() for line in lines}
    assert rows["PINet"] == ["31,000,000", "31.00", "29.4", "42.00", "42.4"]
    assert rows["unrefined"] == ["29,000,000", "29.00", "40.00"]
    assert rows["HigherHRNet"] == ["29,000,000", "29.00", "28.6", "40.00", "47.7"]
    assert rows["AE"] == ["29,000,000", "29.00", "40.00"]


@pytest.mark.slow
def test_systems_have_as_many_parameters_as_their_released_codes(monkeypatch, capsys):
    call(monkeypatch, "--table")
    rows = {line[:18].strip(): line[18:].split() for line in capsys.readouterr().out.splitlines()}
    found = {system.config: rows[name][0] for name, system in SYSTEMS.items()}
    assert {config: found[config] for config in PARAMETERS} == {
        config: f"{number:,}" for config, number in PARAMETERS.items()
    }
    assert len(found) == len(PARAMETERS) + 1  # and PINet
