"""docs/architecture.md, followed to the letter: what it says to write works where it says."""

import importlib.util
import json
import re
import sys

import jax
import numpy as np
import pytest
from flax import linen as nn

from data_pipelines import preparation, records
from data_pipelines.annotations import Reading, check_results, read_annotations
from experiments.configs import load_config
from pinet_jax import methods
from pinet_jax.checkpoints import load_model, save_model
from pinet_jax.complexity import count_complexity
from pinet_jax.evaluation.summary import summarize
from pinet_jax.inference import Predictor
from pinet_jax.methods.base import BottomUpInference, init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.layers import Compute
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import Training, TrainingConfig, train_step
from tests.conftest import ROOT, code_block
from tests.data_pipelines import coco_files
from tests.pinet_jax.evaluation.crowds import make_crowd
from tests.tiny import BACKBONE, batch

DOCUMENT = ROOT / "docs" / "architecture.md"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Imports a section's code as a module of its own."""

    def load(name):
        file = tmp_path / f"added_{name}.py"
        file.write_text(code_block(DOCUMENT, name))
        spec = importlib.util.spec_from_file_location(file.stem, file)
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, file.stem, loaded)
        spec.loader.exec_module(loaded)
        return loaded

    return load


def test_every_file_that_the_map_names_is_there():
    named = re.findall(
        r"`((?:pinet_jax|data_pipelines|experiments|tests)/[\w/.]+)`", DOCUMENT.read_text()
    )
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_a_graph(tmp_path):
    file = tmp_path / "my_graph.py"
    file.write_text(code_block(DOCUMENT, "graph"))
    model = load_config(str(file)).model
    assert model.refinement.graph.__name__ == "symmetric"
    small = PINet(backbone=BACKBONE, refinement=model.refinement)
    params = init_variables(small)["params"]
    names = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert any("adj" in name for name in names)


def test_a_dataset(module, tmp_path):
    data = tmp_path / "data"
    for split, first_id in (("spring", 1), ("autumn", 10)):
        content = coco_files.content(2, first_id=first_id)
        coco_files.write_images(data / "pictures", content)
        coco_files.write_json(data / "labels" / f"{split}.json", content)
    builder = module("dataset").Playground
    sources = builder.sources(data)
    source = preparation.DatasetSource(
        data, builder, builder.skeleton, Reading(), sources, builder.built_splits
    )
    checked = {
        split: read_annotations(files.annotations, builder.skeleton, files.images)
        for split, files in preparation.choose_splits(source, (), data).items()
    }
    preparation.build(source, checked, tmp_path / "out")
    autumn = records.open_split("playground", "autumn", tmp_path / "out")
    assert [record["image_id"] for record in autumn] == [10, 11]


def test_a_metric(module):
    dataset, results = make_crowd(COCO_17, images=20, seed=2)
    truth = coco_files.read_truth(dataset, "coco", COCO_17)
    poses = check_results(json.loads(json.dumps(results)), truth, COCO_17)
    evaluation = module("metric").evaluate_complete(truth, poses, COCO_17)
    counted = [p for p in truth["annotations"] if p["num_keypoints"] >= 8 and not p["iscrowd"]]
    summary = summarize(truth, poses, evaluation, "coco", resamples=5)
    assert 0 < summary.people == len(counted) < len(truth["annotations"])
    assert 0 < evaluation.metrics["AP"] < 1


def test_a_method(module, monkeypatch, tmp_path):
    made = module("method")
    method = made.OnePerson(backbone=BACKBONE)
    variables = init_variables(method)

    training = Training.make(method, TrainingConfig(batch_size=2), 1)
    step = jax.jit(train_step, static_argnums=0)
    state = jax.device_put(training.init_state(variables))
    losses = []
    for _ in range(3):
        state, metrics = step(training, state, jax.device_put(batch(2)))
        losses.append(float(metrics["loss"]))
    assert losses[2] < losses[0]

    monkeypatch.setattr(methods, "METHODS", (PINet, made.OnePerson))
    inference = BottomUpInference(input_size=64, scales=(1.0,))
    save_model(tmp_path / "c", method, jax.device_get(state.test_variables), inference)
    model = load_model(tmp_path / "c")
    assert (model.method, model.inference) == (method, inference)

    predictor = Predictor(*model[:2], model.inference)
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    poses = predictor.predict(image)
    assert poses.keypoints.shape == (1, 17, 3)
    network = method.network(Compute())
    heatmap = nn.apply(lambda net, x: net(x), network)(variables, np.zeros((1, 64, 64, 3), "f4"))
    assert heatmap.shape == (1, 16, 16, 17)
    assert count_complexity(method, (64, 64))["network"].parameters > 0
