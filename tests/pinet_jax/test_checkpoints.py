"""Checkpoints: exact, self-describing, and refused where they are not whole or another network."""

import json
import shutil

import jax
import numpy as np
import pytest

from pinet_jax.checkpoints import export_model, load_model, save_model
from pinet_jax.errors import InputError
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.interop.weight_files import write_arrays
from pinet_jax.models import graphs
from pinet_jax.models.config import MICRO, PINetConfig, RefinementConfig
from pinet_jax.models.config_json import config_from_json, config_to_json
from pinet_jax.models.initialization import init_variables
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14

CONFIG = PINetConfig(CROWDPOSE_14, "part-small", MICRO, RefinementConfig(graphs.attention, 1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "micro"
    save_model(path, CONFIG, init_variables(CONFIG))
    return path


def test_a_checkpoint_gives_back_its_config_and_variables(checkpoint):
    config, variables = load_model(checkpoint)
    assert config == CONFIG
    jax.tree.map(np.testing.assert_array_equal, variables, init_variables(CONFIG))


@pytest.mark.parametrize(
    "config",
    [CONFIG, PINetConfig(), PINetConfig(COCO_17, "center", refinement=None)],
    ids=["attention", "paper", "spm"],
)
def test_configs_survive_json(config):
    content = json.loads(json.dumps(config_to_json(config)))
    assert config_from_json(content, where="test") == config


@pytest.mark.parametrize("half", [False, True])
def test_an_exported_network_is_one_file(half, tmp_path):
    variables = init_variables(CONFIG)
    export_model(tmp_path / "micro.safetensors", CONFIG, variables, half=half)
    config, read = load_model(tmp_path / "micro.safetensors")
    assert config == CONFIG

    def check(read, written):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, written.astype(np.float16) if half else written)

    jax.tree.map(check, read, variables)


def test_a_file_of_weights_alone_needs_a_config(tmp_path):
    file = tmp_path / "weights.safetensors"
    write_arrays(file, to_state_dict(init_variables(CONFIG)))
    assert load_model(file, CONFIG)[0] == CONFIG
    with pytest.raises(InputError, match=r"weights\.safetensors: does not say what network it is"):
        load_model(file)
    with pytest.raises(InputError, match=r"weights\.safetensors: does not fit the network"):
        load_model(file, PINetConfig(COCO_17, backbone=MICRO))


def test_nothing_is_overwritten(checkpoint):
    with pytest.raises(InputError, match="exists already"):
        save_model(checkpoint, CONFIG, {})


def test_another_network_is_refused_with_the_difference(checkpoint):
    other = PINetConfig(COCO_17, backbone=MICRO)
    message = r"another network, \d+ entries differ.*absent there and \(60,\)"
    with pytest.raises(InputError, match=message) as error:
        load_model(checkpoint, other)
    assert "\n" not in str(error.value)


def test_a_graph_of_the_users_own_needs_its_config(tmp_path):
    def mine(param, skeleton, nodes, layer):
        return graphs.static(param, skeleton, nodes, layer)

    config = PINetConfig(CROWDPOSE_14, backbone=MICRO, refinement=RefinementConfig(mine, 1))
    save_model(tmp_path / "mine", config, init_variables(config))
    with pytest.raises(InputError, match=r"your own graph .*mine; give its --config"):
        load_model(tmp_path / "mine")
    assert load_model(tmp_path / "mine", config)[0] == config


@pytest.mark.parametrize("missing", ["model", "config"])
def test_half_a_checkpoint_is_refused(checkpoint, missing, tmp_path):
    shutil.copytree(checkpoint, tmp_path / "half")
    shutil.rmtree(tmp_path / "half" / missing)
    with pytest.raises(InputError, match="half: not a checkpoint"):
        load_model(tmp_path / "half")


def test_a_broken_checkpoint_is_refused_in_one_line(checkpoint, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    for path in (broken / "model").rglob("*"):
        if path.is_file() and path.stat().st_size > 1000:
            path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="broken: the checkpoint is broken") as error:
        load_model(broken)
    assert "\n" not in str(error.value)


def test_a_config_that_names_no_known_graph_is_refused():
    content = config_to_json(CONFIG)
    content["refinement"]["graph"] = f"{graphs.__name__}:absent"
    with pytest.raises(InputError, match="where: was trained with your own graph"):
        config_from_json(content, where="where")
    content["refinement"]["graph"] = f"{graphs.__name__}:jax"  # there, but no graph
    with pytest.raises(InputError, match="where: was trained with your own graph"):
        config_from_json(content, where="where")
    with pytest.raises(InputError, match="where"):
        config_from_json({}, where="where")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: not a checkpoint"):
        load_model(tmp_path / "absent")
