"""Experiments by name: the rows of published tables, and what the command line makes of them."""

import pytest

from data_pipelines.config import PersonDataConfig
from experiments.commands.flags import given, in_flags, local_paths
from experiments.configs import available_configs, load_config
from experiments.configs.paper_rows import ABLATIONS, ROWS
from pinet_jax.errors import UsageError


@pytest.mark.parametrize("name", available_configs())
def test_every_name_makes_an_experiment(name):
    config = load_config(name)
    assert isinstance(config.inference, config.model.inference_type)
    assert isinstance(config.data, PersonDataConfig) == config.model.needs_boxes
    if config.paper is not None:
        assert config.paper.where
        assert all(0.3 < figure < 1 for figure in config.paper.figures.values())


def test_rows_differ_from_their_dataset_in_what_they_say():
    whole = load_config("ochuman")
    spm, fused = load_config("ochuman_spm"), load_config("ochuman_spm_pf")
    assert (spm.model, spm.training, spm.data) == (fused.model, whole.training, whole.data)
    assert (spm.inference.fusion, fused.inference.fusion) == (False, True)
    assert (spm.paper.figures["AP"], fused.paper.figures["AP"]) == (0.476, 0.481)
    assert load_config("ochuman_ppg_pr").model == whole.model
    assert load_config("ochuman_static_graph").model.refinement.graph.__name__ == "static"
    assert load_config("ochuman_attention").paper is None


def test_every_row_of_an_ablation_has_the_papers_figure():
    for rows in ABLATIONS.values():
        assert all(load_config(row).paper.figures["AP"] > 0 for row in rows)
    assert set(ROWS) <= set(available_configs())


@pytest.mark.parametrize(
    ("message", "arguments", "shown"),
    [
        ("input_size 0: use 1", ["--input-size", "0"], "--input-size 0: use 1"),
        ("input_size 0: use 1", ["--input-size=0"], "--input-size 0: use 1"),
        ("batch_size 3: odd", ["--training.batch-size", "3"], "--training.batch-size 3: odd"),
        ("input_size 0: use 1", ["--size", "0"], "input_size 0: use 1"),  # the config's own value
        ("out.json: broken", ["--out", "out.json"], "out.json: broken"),
        ("/a/b: gone", ["--out", "/a/b"], "/a/b: gone"),
    ],
)
def test_a_field_goes_by_the_flag_that_was_typed(message, arguments, shown):
    assert in_flags(message, arguments) == shown


def test_a_flags_value_is_found_before_parsing():
    assert given(["--out", "x", "--config", "coco"], "--config") == "coco"
    assert given(["--config=coco"], "--config") == "coco"
    assert given(["--configs", "coco", "x"], "--config") is None


def test_a_tilde_is_the_home_folder_behind_a_flag_too(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    arguments = ["a~b", "--out=~/x", "--checkpoint", "~/c", "--flag", "~", "--no-flip"]
    expanded = ["a~b", "--out=/home/me/x", "--checkpoint", "/home/me/c", "--flag", "/home/me"]
    assert local_paths(arguments) == [*expanded, "--no-flip"]


@pytest.mark.parametrize("path", ["gs://b/run", "s3://b", "--out=https://x/y", "hdfs://a"])
def test_addresses_are_no_paths(path):
    with pytest.raises(UsageError, match="paths are local; mount the bucket"):
        local_paths(["--workdir", path])
