"""The network that comes with the package, and when it is taken."""

from pathlib import Path

import pytest

from experiments.configs import load_config
from experiments.testing.chosen_network import choose_network, procedure_of
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.errors import InputError
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
