"""`complexity` on the command line."""

import sys

import pytest

from experiments import cli
from experiments.commands.complexity import table
from pinet_jax.complexity import Complexity


def test_rows_and_sums():
    counts = {
        "backbone": Complexity(10_000_000, 40_000_000_000, 1_000_000_000, 39.5e9),
        "pose generation": Complexity(2_000_000, 2_000_000_000, 0, 2e9),
        "refinement": Complexity(1_000_000, 3_000_000_000, 0, 3.25e9),
    }
    lines = table(counts, ["Refinement: of 90 poses."]).splitlines()
    rows = {line[:20].strip(): line[20:].split() for line in lines}
    assert rows["refinement"] == ["1.00", "3.00", "3.25"]
    assert rows["without refinement"] == ["12.00", "42.00", "41.50"]
    assert rows["all"] == ["13.00", "45.00", "44.75"]
    assert rows["PINet"] == ["29.4", "42.4"]
    text = " ".join(lines)
    assert "1.00 G with the zeros" in text and "0.75 G for upsampling" in text and "90" in text


def test_a_network_without_refinement():
    counts = {"backbone": Complexity(1, 2, 0, 2), "pose generation": Complexity(1, 2, 0, 2)}
    rows = [line.split("  ")[0] for line in table(counts).splitlines()]
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
