"""A dataset's files -> records -> a training from a given backbone -> a tested checkpoint."""

import json

import jax
import numpy as np

from experiments import cli
from experiments.commands import evaluate, prepare
from experiments.testing.scoring import ScoreOptions
from experiments.training import loop as train
from pinet_jax.checkpoints import load_model
from pinet_jax.interop.state_dict import to_state_dict
from pinet_jax.interop.weight_files import write_arrays
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINetInference
from pinet_jax.runtime import make_mesh
from pinet_jax.skeletons import COCO_17
from tests.data_pipelines import coco_files
from tests.tiny import MODEL

CONFIG = """
import dataclasses
from data_pipelines.config import DataConfig
from tests.tiny import experiment

def get_config():
    data = DataConfig({dataset!r}, input_size=64)
    return dataclasses.replace(experiment(epochs=1), synthetic=None, data=data)
"""


def test_from_the_files_to_the_figures(tmp_path, monkeypatch):
    files = tmp_path / "mine"
    for split, first_id in (("train", 1), ("val", 11)):
        content = coco_files.content(8, first_id=first_id)
        coco_files.write_images(files / split, content)
        coco_files.write_json(files / "annotations" / f"person_keypoints_{split}.json", content)
    coco_files.write_json(files / "skeleton.json", COCO_17.to_json())
    prepare.main("custom", data_dir=files, out=tmp_path / "records")

    published = _imagenet_backbone()
    write_arrays(tmp_path / "hrnet.safetensors", published)
    config, workdir = tmp_path / "config.py", tmp_path / "run"
    config.write_text(CONFIG.format(dataset=str(tmp_path / "records" / "mine")))
    monkeypatch.setattr(train, "make_mesh", lambda _: make_mesh(jax.devices()[:1]))
    cli.run(
        "train",
        f"--config {config} --workdir {workdir} "
        f"--init-backbone {tmp_path / 'hrnet.safetensors'}".split(),
    )
    model, variables, _ = load_model(workdir)
    assert model == MODEL
    trained = to_state_dict(variables, model)
    for name, array in published.items():
        if name.endswith("weight") and "classifier" not in name:
            # Two steps of Adam move no entry by much more than twice the rate, 0.001.
            assert np.abs(trained[f"backbone.{name}"] - array).max() < 0.0021, name

    evaluate.main(
        checkpoint=workdir,
        config=str(config),
        out=tmp_path / "metrics.json",
        inference=PINetInference(input_size=64, flip=False),
        options=ScoreOptions(resamples=0),
    )
    figures = json.loads((tmp_path / "metrics.json").read_text())
    assert (figures["images"], figures["people"]) == (8, 8)
    assert 0 <= figures["AP"] <= 1
    assert figures["protocol"]["tested on"].endswith("mine val, 8 images")


def _imagenet_backbone():
    """Arrays as an ImageNet HRNet's file has them, unlike those that a training begins with."""
    state = to_state_dict(init_variables(MODEL, seed=5), MODEL)
    backbone = {
        name.removeprefix("backbone."): array
        for name, array in state.items()
        if name.startswith("backbone.")
    }
    return backbone | {"classifier.weight": np.zeros((10, 4), np.float32)}
