"""The network that comes with the package, and when it is taken."""

import dataclasses
from pathlib import Path

import pytest

from experiments.configs import load_config
from experiments.testing.chosen_network import choose_network, procedure_of
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.pretrained import PHOTOGRAPHS
from tests.tiny import MODEL


def test_without_a_checkpoint_the_packages_network_is_taken_and_named(capsys):
    chosen = choose_network(None, None)
    assert "no --checkpoint" in capsys.readouterr().out
    assert chosen.checkpoint == PHOTOGRAPHS
    assert chosen.trained_on == "packs of photographs"
    experiment = load_config("photographs")
    assert procedure_of(None, None) == experiment.inference
    assert load_model(chosen.checkpoint).method == experiment.model
    assert PHOTOGRAPHS.stat().st_size < 15e6


def test_a_named_checkpoint_is_tested_as_its_experiment_says(capsys):
    assert choose_network(Path("c"), "crowdpose").trained_on == "crowdpose trainval"
    assert procedure_of("c", "crowdpose") == load_config("crowdpose").inference
    assert procedure_of(str(PHOTOGRAPHS), None).area_exponent > 0
    assert not capsys.readouterr().out


def test_the_package_has_no_network_of_another_experiment():
    with pytest.raises(UsageError, match="--config ochuman: give its --checkpoint"):
        choose_network(None, "ochuman")
    assert choose_network(None, "photographs").checkpoint == PHOTOGRAPHS


def test_a_network_of_another_size_is_its_experiments_too(tmp_path):
    larger = dataclasses.replace(MODEL, skeleton=load_config("crowdpose").model.skeleton)
    save_model(tmp_path / "c", larger, init_variables(larger))
    read = choose_network(tmp_path / "c", "crowdpose").read()
    assert read.method == larger != load_config("crowdpose").model


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ("dekr_coco", r"c: holds PINet with .* coco_17, the config names DEKR with"),
        ("crowdpose", r"c: holds PINet with .* coco_17, the config names PINet with .* crowdpose"),
    ],
)
def test_another_method_or_other_keypoints_are_refused(tmp_path, config, wanted):
    save_model(tmp_path / "c", MODEL, init_variables(MODEL))
    with pytest.raises(InputError, match=wanted):
        choose_network(tmp_path / "c", config).read()


def test_a_broken_checkpoint_is_named(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=str(tmp_path / "c")):
        choose_network(tmp_path / "c", "coco").read()


def test_a_checkpoint_is_tested_as_it_says_itself(tmp_path):
    inference = PINetInference(input_size=64, scales=(0.5, 1.0), scale_decrease=0.8, fusion=False)
    save_model(tmp_path / "c", MODEL, init_variables(MODEL), inference)
    assert procedure_of(str(tmp_path / "c"), None) == inference
    # What cannot be read is named later, where it is read.
    assert procedure_of(str(tmp_path / "absent"), None) == PINetInference()
