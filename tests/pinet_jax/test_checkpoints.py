"""Checkpoints: exact, self-describing, and refused where they are not whole or another network."""

import contextlib
import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest

from pinet_jax.checkpoints import TrainingCheckpoints, load_model, save_model
from pinet_jax.errors import InputError
from pinet_jax.interop.model_files import write_model_file
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.interop.weight_files import write_arrays
from pinet_jax.methods import config_from_json, config_to_json
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks import graphs
from pinet_jax.networks.efficientnet import LITE2
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.pretrained import PHOTOGRAPHS
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14
from tests.tiny import MICRO

INFERENCE = PINetInference(scales=(0.5, 1.0), fusion=False, scale_decrease=0.8)
CONFIG = PINet(CROWDPOSE_14, "part-small", MICRO, RefinementConfig(graphs.attention, 1))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoints") / "micro"
    save_model(path, CONFIG, init_variables(CONFIG), INFERENCE)
    return path


def test_a_checkpoint_gives_back_its_config_and_variables(checkpoint):
    config, variables, inference = load_model(checkpoint)
    assert (config, inference) == (CONFIG, INFERENCE)
    assert load_model(checkpoint, CONFIG).inference == INFERENCE
    jax.tree.map(np.testing.assert_array_equal, variables, init_variables(CONFIG))


@pytest.mark.parametrize(
    "config",
    [CONFIG, PINet(), PINet(COCO_17, "center", refinement=None)],
    ids=["attention", "paper", "spm"],
)
def test_configs_survive_json(config):
    content = json.loads(json.dumps(config_to_json(config, INFERENCE)))
    assert config_from_json(content, where="test") == (config, INFERENCE)


@pytest.mark.parametrize("half", [False, True])
def test_an_exported_network_is_one_file(half, tmp_path):
    variables = init_variables(CONFIG)
    file = tmp_path / "micro.safetensors"
    write_model_file(file, CONFIG, variables, INFERENCE, half=half)
    config, read, inference = load_model(file)
    assert (config, inference) == (CONFIG, INFERENCE)
    assert load_model(file, CONFIG).inference == INFERENCE

    def check(read, written):
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, written.astype(np.float16) if half else written)

    jax.tree.map(check, read, variables)


def test_a_file_of_weights_alone_needs_a_config(tmp_path):
    file = tmp_path / "weights.safetensors"
    write_arrays(file, to_state_dict(init_variables(CONFIG), CONFIG))
    assert load_model(file, CONFIG)[0] == CONFIG
    with pytest.raises(InputError, match=r"weights\.safetensors: does not say what network it is"):
        load_model(file)
    with pytest.raises(InputError, match=r"weights\.safetensors: does not fit the network"):
        load_model(file, PINet(COCO_17, backbone=MICRO))


def test_nothing_is_overwritten(checkpoint):
    with pytest.raises(InputError, match="exists already"):
        save_model(checkpoint, CONFIG, {})


def test_another_network_is_refused_with_the_difference(checkpoint):
    other = PINet(COCO_17, backbone=MICRO)
    message = r"another network, \d+ entries differ.*absent there and \(60,\)"
    with pytest.raises(InputError, match=message) as error:
        load_model(checkpoint, other)
    assert "\n" not in str(error.value)


def test_a_graph_of_the_users_own_needs_its_config(tmp_path):
    def mine(param, skeleton, nodes, layer):
        return graphs.static(param, skeleton, nodes, layer)

    config = PINet(CROWDPOSE_14, backbone=MICRO, refinement=RefinementConfig(mine, 1))
    save_model(tmp_path / "mine", config, init_variables(config))
    with pytest.raises(InputError, match=r"your own graph .*mine; give its config"):
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
    content = config_to_json(CONFIG, INFERENCE)
    refinement = content["method"]["refinement"]
    refinement["graph"] = f"{graphs.__name__}:absent"
    with pytest.raises(InputError, match=r"where: .*graph: was trained with your own graph"):
        config_from_json(content, where="where")
    refinement["graph"] = f"{graphs.__name__}:jax"  # there, but no graph
    with pytest.raises(InputError, match=r"where: .*graph: was trained with your own graph"):
        config_from_json(content, where="where")
    with pytest.raises(InputError, match="where"):
        config_from_json({}, where="where")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    with pytest.raises(InputError, match="absent: not a checkpoint"):
        load_model(tmp_path / "absent")


# As checkpoints and files held it before there were several methods.
OLD_CONFIG = {
    "skeleton": COCO_17.to_json(),
    "partition": "part-large",
    "backbone": {
        "stem_width": 8,
        "bottleneck_width": 4,
        "bottlenecks": 1,
        "width": 4,
        "modules": [1, 1, 1],
        "blocks": 1,
    },
    "refinement": {
        "graph": "pinet_jax.models.graphs:static",
        "blocks": 1,
        "released_sampling": True,
    },
}


def test_configs_of_before_there_were_several_methods_are_read():
    refinement = RefinementConfig(graphs.static, blocks=1)
    expected = PINet(COCO_17, backbone=MICRO, refinement=refinement)
    assert config_from_json(OLD_CONFIG, "old") == (expected, PINetInference())
    without = config_from_json(OLD_CONFIG | {"refinement": None}, "old")[0]
    assert without == dataclasses.replace(expected, refinement=None)


def test_the_package_network_is_read():
    model = load_model(PHOTOGRAPHS)
    assert model.method.backbone == LITE2
    shapes = jax.tree.map(lambda x: x.shape, abstract_variables(model.method))
    assert jax.tree.map(lambda x: x.shape, model.variables) == shapes


def test_a_training_of_before_goes_on(tmp_path):
    refinement = RefinementConfig(graphs.static, blocks=1)
    method = PINet(COCO_17, backbone=MICRO, refinement=refinement, min_part_area=0)
    variables = {"params": {"x": np.ones(2, np.float32)}}
    training = {"step": np.int32(3)}
    with contextlib.closing(TrainingCheckpoints(tmp_path, method)) as checkpoints:
        checkpoints.save(3, variables, training)
    files = [path for path in (tmp_path / "3" / "config").iterdir() if path.is_file()]
    (stored,) = (path for path in files if "part-large" in path.read_text())
    stored.write_text(json.dumps(OLD_CONFIG))
    with contextlib.closing(TrainingCheckpoints(tmp_path, method)) as checkpoints:
        read = checkpoints.restore(*jax.tree.map(_shape, (variables, training)))
        jax.tree.map(np.testing.assert_array_equal, read, (variables, training))
    other = dataclasses.replace(method, partition="center")
    with contextlib.closing(TrainingCheckpoints(tmp_path, other)) as checkpoints:
        message = 'partition is "part-large" there and "center" in the config'
        with pytest.raises(InputError, match=message):
            checkpoints.restore(*jax.tree.map(_shape, (variables, training)))


def _shape(x):
    sharding = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(np.shape(x), np.asarray(x).dtype, sharding=sharding)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "Sorcery"}, "where: holds a Sorcery"),
        ({"speed": 3}, "where: PINet has no field speed"),
        ({"backbone": {"kind": "ResNetConfig"}}, "where: .*ResNetConfig"),
        ({"partition": 3}, "where: partition: 3 is no str"),
        ({"part_sigma": "2"}, "where: part_sigma: '2' is no float"),
        ({"backbone": {"kind": "HRNetConfig", "width": 3.5}}, "where: backbone: width: 3.5 is no"),
        ({"partition": None, "skeleton": {}}, "where.*|skeleton: lacks"),
    ],
)
def test_configs_that_are_none_are_refused(change, message):
    content = config_to_json(CONFIG, INFERENCE)
    content["method"] |= change
    with pytest.raises(InputError, match=message):
        config_from_json(content, "where")
