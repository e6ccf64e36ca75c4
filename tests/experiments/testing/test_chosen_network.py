"""The network that comes with the package, and when it is taken."""

from dataclasses import replace
from pathlib import Path

import pytest

from experiments.configs import load_config
from experiments.testing.chosen_network import choose_network, procedure_of
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.errors import InputError
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.pretrained import SYNTHETIC_TINY
from tests.tiny import MODEL


def test_without_a_checkpoint_the_packages_network_is_taken_and_named(capsys):
    chosen = choose_network(None, None)
    assert "no --checkpoint" in capsys.readouterr().out
    assert chosen.checkpoint == SYNTHETIC_TINY
    assert procedure_of(None, None).input_size == 320
    assert chosen.trained_on == "rendered crowds"
    # Its header is silent of what only training asks for.
    held, trained = load_model(chosen.checkpoint).method, load_config("synthetic_tiny").model
    assert replace(held, loss=trained.loss, min_part_area=trained.min_part_area) == trained
    assert SYNTHETIC_TINY.stat().st_size < 8e6


def test_a_named_checkpoint_is_tested_as_its_experiment_says(capsys):
    assert choose_network(Path("c"), "crowdpose").trained_on == "crowdpose trainval"
    assert procedure_of("c", "crowdpose") == load_config("crowdpose").inference
    assert procedure_of(str(SYNTHETIC_TINY), None) == PINetInference()
    assert not capsys.readouterr().out


def test_the_packages_network_fits_no_other_experiment():
    chosen = choose_network(None, "ochuman")
    assert chosen.experiment is not None
    with pytest.raises(InputError, match="does not fit the network"):
        load_model(chosen.checkpoint, chosen.experiment.model)


def test_a_checkpoint_is_tested_as_it_says_itself(tmp_path):
    inference = PINetInference(input_size=64, scales=(0.5, 1.0), scale_decrease=0.8, fusion=False)
    save_model(tmp_path / "c", MODEL, init_variables(MODEL), inference)
    assert procedure_of(str(tmp_path / "c"), None) == inference
    # What cannot be read is named later, where it is read.
    assert procedure_of(str(tmp_path / "absent"), None) == PINetInference()
