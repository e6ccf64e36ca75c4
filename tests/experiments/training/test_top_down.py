"""Top-down methods through the commands: trained, tested within and after, fed by other systems."""

import dataclasses
import json

import jax
import pytest

from data_pipelines.config import PersonAugmentationConfig
from experiments.commands import evaluate, predict, prepare
from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig, LoopConfig
from experiments.testing.image_sets import SetSource
from experiments.training.loop import train
from pinet_jax.errors import InputError, UsageError
from pinet_jax.methods.simple_baseline import TopDownInference
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.resnet import ResNetConfig
from pinet_jax.optimizers import OptimizerConfig
from tests.conftest import shared_data

STEPS = 600
UPRIGHT = PersonAugmentationConfig(
    half_body_probability=0, scale=0, rotation_probability=-1, flip_probability=-1
)
SMALL = {
    "simple_baseline_crowdpose": {
        "backbone": ResNetConfig(base_width=16, bottlenecks=(1, 1, 1, 1)),
        "upsampled_width": 32,
    },
    "topdown_hrnet_crowdpose": {
        "backbone": HRNetConfig(
            stem_width=32,
            bottleneck_width=16,
            bottlenecks=1,
            width=16,
            modules=(1, 1),
            blocks=1,
            concatenated=False,
        )
    },
}


def small(name: str, steps: int) -> ExperimentConfig:
    """The experiment with a small network, on two images of four people that are its test, too."""
    config = load_config(name)
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, crop_shape=(128, 96), **SMALL[name]),
        data=dataclasses.replace(config.data, eval_split="trainval", augmentation=UPRIGHT),
        # Not the mirrored crop: it moves what it finds by a quarter of a cell.
        inference=TopDownInference(flip=False),
        training=dataclasses.replace(
            config.training,
            batch_size=4,
            epochs=steps,
            optimizer=OptimizerConfig(learning_rate=3e-3, schedule="cosine"),
        ),
        loop=LoopConfig(save_every=steps, evaluate_every=steps, batch_size=4),
    )


def trained(name, steps, tmp_path, monkeypatch):
    """The work folder, and the last line of its log."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path / "data"))
    prepare.main("crowdpose", data_dir=shared_data("crowdpose"), splits=("trainval",))
    train(small(name, steps), tmp_path / "run", devices=jax.devices()[:1])
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    return tmp_path / "run", json.loads(lines[-1])


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_small_network_learns_real_people_by_heart(tmp_path, monkeypatch, name):
    _, figures = trained(name, STEPS, tmp_path, monkeypatch)
    assert figures["AP"] > 0.95


def test_boxes_of_annotations_detectors_and_other_systems(tmp_path, monkeypatch, capsys):
    """A network after two steps, through `evaluate` and `predict`."""
    workdir, figures = trained("simple_baseline_crowdpose", 2, tmp_path, monkeypatch)
    assert figures["AP"] is not None
    folder = shared_data("crowdpose")
    annotations = folder / "json" / "crowdpose_trainval.json"
    source = SetSource(annotations=annotations, images=folder / "images")
    test = {"inference": TopDownInference(), "checkpoint": workdir, "source": source}
    evaluate.main(out=tmp_path / "own.json", **test)
    protocol = json.loads((tmp_path / "own.json").read_text())["protocol"]
    assert protocol["ground-truth boxes"] == "all"
    own = json.loads((tmp_path / "own.results.json").read_text())
    assert {entry["image_id"] for entry in own} == {image["id"] for image in images(annotations)}

    # Its poses as another system's, with one of an image that is not there.
    poses = tmp_path / "poses.json"
    poses.write_text(json.dumps([*own, own[0] | {"image_id": 10**6}]))
    capsys.readouterr()
    evaluate.main(out=tmp_path / "fed.json", boxes=poses, **test)
    assert f"{poses}: result {len(own)}: its image 1000000 is not" in capsys.readouterr().err
    protocol = json.loads((tmp_path / "fed.json").read_text())["protocol"]
    assert (protocol["ground-truth boxes"], protocol["boxes"]) == ("none", str(poses))
    assert len(json.loads((tmp_path / "fed.results.json").read_text())) == len(own)

    pictures = tuple(folder / "images" / image["file_name"] for image in images(annotations))
    found = {"out": tmp_path / "out", "inference": TopDownInference(), "checkpoint": workdir}
    with pytest.raises(UsageError, match="give --boxes, a file of COCO annotations, of a detector"):
        predict.main(pictures, **found)
    predict.main(pictures, boxes=annotations, **found)
    entries = json.loads((tmp_path / "out" / "poses.json").read_text())
    assert [entry["score"] for entry in entries] == [entry["score"] for entry in own]
    broken = [{"image_id": pictures[0].name, "bbox": [1, 2, 0, 9], "score": 1.0}, *entries]
    poses.write_text(json.dumps(broken))
    with pytest.raises(InputError, match="1 of the inputs could not be used"):
        predict.main(pictures, boxes=poses, **found)
    assert f"{poses}: result 0: its box has no area; left out" in capsys.readouterr().err
    assert len(json.loads((tmp_path / "out" / "poses.json").read_text())) == len(entries)


def images(annotations):
    return json.loads(annotations.read_text())["images"]


def test_boxes_for_a_network_that_needs_none(tmp_path):
    with pytest.raises(UsageError, match="PINet finds everybody by itself"):
        evaluate.main(
            out=tmp_path / "out.json",
            inference=load_config("synthetic_tiny").inference,
            source=SetSource(
                annotations=shared_data("crowdpose") / "json" / "crowdpose_trainval.json",
                images=shared_data("crowdpose") / "images",
            ),
            boxes=tmp_path / "boxes.json",
        )
