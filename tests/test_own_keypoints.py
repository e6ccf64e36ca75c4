"""The guide to one's own keypoints, followed with what labelling tools have written."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest

from data_pipelines.annotations import read_annotations
from experiments.commands import prepare
from experiments.configs import load_config
from pinet_jax.skeletons import COCO_17, Skeleton
from tests.conftest import ROOT, code_block

GUIDE = ROOT / "docs" / "your_own_keypoints.md"
EXPORTS = ROOT / "tests" / "exports"
EXAMPLES = ROOT / "docs" / "examples"
PICTURES = ("000000153229.jpg", "000000281759.jpg")


@pytest.fixture
def mine(tmp_path):
    """The guide's folder without labels and pictures."""
    folder = tmp_path / "mine"
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "skeleton.json").write_text(code_block(GUIDE, "skeleton"))
    return folder


def put_pictures(folder, prefixes=("", "")):
    for prefix, name in zip(prefixes, PICTURES, strict=True):
        shutil.copy(EXAMPLES / name, folder / "images" / "train" / f"{prefix}{name}")


def to_coco(folder, *arguments):
    """Runs the guide's script; its output, or what it ends with."""
    script = folder.parent / "to_coco.py"
    script.write_text(code_block(GUIDE, "to_coco"))
    done = subprocess.run(
        [sys.executable, script.name, folder.name, "train", *arguments],
        cwd=folder.parent, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else done.stderr


def people_of(folder):
    """What `prepare` reads, without a fault: boxes and keypoints by picture."""
    file = folder / "annotations" / "person_keypoints_train.json"
    skeleton = Skeleton.from_json(folder / "skeleton.json")
    read = read_annotations([file], skeleton, folder / "images" / "train")
    assert list(read.faults) == []
    content = json.loads(file.read_text())
    found = {image["file_name"][-16:]: [] for image in content["images"]}
    names = {image["id"]: image["file_name"][-16:] for image in content["images"]}
    for person in content["annotations"]:
        keypoints = np.array(person["keypoints"], float).reshape(-1, 3)
        found[names[person["image_id"]]].append((np.array(person["bbox"]), keypoints))
    return found


def labelled():
    """What the exports were made of: people of whom three of the five keypoints are labelled."""
    content = json.loads((EXAMPLES / "person_keypoints_examples.json").read_text())
    five = json.loads(code_block(GUIDE, "skeleton"))["keypoints"]
    chosen = [COCO_17.keypoints.index(name) for name in five]
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = {name: [] for name in PICTURES}
    for person in content["annotations"]:
        keypoints = np.array(person["keypoints"], float).reshape(-1, 3)[chosen]
        name = names[person["image_id"]]
        if name in found and not person["iscrowd"] and (keypoints[:, 2] > 0).sum() >= 3:
            found[name].append((np.array(person["bbox"]), keypoints))
    return found


def assert_same(found, *, hidden=True):
    """Within a hundredth of a pixel, which is what six digits of a share leave.

    Args:
        hidden: whether the format says which keypoints are hidden.
    """
    wanted = labelled()
    assert found.keys() == wanted.keys()
    for name, people in wanted.items():
        for (box, keypoints), (own_box, own) in zip(people, found[name], strict=True):
            np.testing.assert_allclose(own_box, box, atol=0.01)
            np.testing.assert_allclose(own[:, :2], keypoints[:, :2], atol=0.01)
            v = keypoints[:, 2] if hidden else 2 * (keypoints[:, 2] > 0)
            np.testing.assert_array_equal(own[:, 2], v)


def test_datumaros_coco(mine):
    put_pictures(mine)
    (mine / "annotations").mkdir()
    shutil.copy(EXPORTS / "datumaro.json", mine / "annotations" / "person_keypoints_train.json")
    assert_same(people_of(mine))


def test_ultralytics_yolo(mine):
    put_pictures(mine)
    shutil.copytree(EXPORTS / "ultralytics", mine / "labels" / "train")
    assert "2 images, 10 people" in to_coco(mine)
    assert_same(people_of(mine))


def test_label_studios_yolo(mine):
    put_pictures(mine, ("01ab12cd-", "02ab12cd-"))
    shutil.copytree(EXPORTS / "label_studio_yolo", mine / "labels" / "train")
    assert "2 images, 10 people" in to_coco(mine)
    assert_same(people_of(mine), hidden=False)


@pytest.mark.parametrize("prefixes", [("", ""), ("01ab12cd-", "02ab12cd-")])
def test_label_studios_json(mine, prefixes):
    """With the pictures as they were before the upload, and as Label Studio calls them."""
    put_pictures(mine, prefixes)
    assert "2 images, 10 people" in to_coco(mine, str(EXPORTS / "label_studio.json"))
    assert_same(people_of(mine), hidden=False)


def test_yolo_without_visibility(mine):
    put_pictures(mine)
    labels = mine / "labels" / "train"
    labels.mkdir(parents=True)
    points = "0.5 0.2 0.4 0.3 0.6 0.3 0.35 0.6 0 0"
    (labels / "000000153229.txt").write_text(f"0 0.5 0.5 0.4 0.8 {points}\n")
    (labels / "000000281759.txt").write_text("")
    assert "2 images, 1 people" in to_coco(mine)
    (person,) = people_of(mine)["000000153229.jpg"]
    np.testing.assert_array_equal(person[1][:, 2], [2, 2, 2, 2, 0])


def test_what_does_not_fit_is_named(mine):
    put_pictures(mine)
    labels = mine / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "000000153229.txt").write_text("0 0.5 0.5 0.4 0.8 0.1 0.2 0.3\n")
    assert "000000153229.txt: 3 numbers are not 5 keypoints" in to_coco(mine)
    (labels / "000000153229.txt").rename(labels / "other.txt")
    (labels / "other.txt").write_text("")
    assert "there is no picture other" in to_coco(mine)


def test_the_check_and_the_config(mine, capsys):
    put_pictures(mine)
    shutil.copytree(EXPORTS / "ultralytics", mine / "labels" / "train")
    to_coco(mine)
    prepare.main("custom", data_dir=mine, check_only=True)

    config = mine.parent / "mine.py"
    config.write_text(code_block(GUIDE, "config"))
    experiment = load_config(str(config))
    assert experiment.model.skeleton.name == "upper_body"
    assert [part.name for part in experiment.model.parts] == ["head", "left", "right"]
    assert experiment.data.dataset == "mine"
