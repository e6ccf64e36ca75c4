"""README and docs: every command, flag, file and link is there, and the guides' code runs."""

import contextlib
import functools
import io
import itertools
import json
import re
import shlex
import subprocess
import sys

import pytest
from PIL import Image

from data_pipelines.annotations import read_annotations
from experiments import cli
from experiments.commands import prepare
from experiments.configs import available_configs, load_config
from pinet_jax.skeletons import Skeleton
from tests.conftest import ROOT

DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BY_CONFIG = ("train", "plan", "complexity", "convert", "evaluate", "predict")  # flags depend on it
# Configs of the reader's own, which the guides tell how to write.
OWN_CONFIGS = ("my_graph.py", "mine.py")


def commands(text: str) -> list[list[str]]:
    """The words of every `pinet-jax` call of a document, lines joined, comments left out."""
    joined = re.sub(r"\\\n\s*", " ", text)
    calls = re.findall(r"pinet-jax ([a-z]+(?: [^\n`|]*)?)", joined)
    found = []
    for call in calls:
        with contextlib.suppress(ValueError):  # prose with an apostrophe
            found.append(shlex.split(call, comments=True))
    return found


def every_command() -> list[tuple[str, tuple[str, ...]]]:
    texts = {path.name: path.read_text() for path in DOCUMENTS}
    for name in cli.COMMANDS:
        source = (ROOT / "experiments" / "commands" / f"{name}.py").read_text()
        texts[f"{name} --help"] = "\n".join(re.findall(r"Example: .*", source))
    return [(where, tuple(words)) for where, text in texts.items() for words in commands(text)]


@functools.cache
def flags_of(name: str, config: str | None) -> frozenset[str]:
    """What `pinet-jax NAME --config CONFIG --help` lists."""
    given = [] if config is None else ["--config", config]
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), pytest.raises(SystemExit):
        cli.run(name, [*given, "--help"])
    return frozenset(re.findall(r"--[a-z][\w.-]*", printed.getvalue()))


@functools.cache
def alike(config: str) -> str:
    """The first config that has the same fields, and so the same flags: help takes a second."""
    return next(name for name in available_configs() if fields_of(name) == fields_of(config))


@functools.cache
def fields_of(config: str) -> tuple[type, ...]:
    experiment = load_config(config)
    return type(experiment.model), type(experiment.model.backbone), type(experiment.data)


def test_commands_are_found():
    names = {words[0] for _, words in every_command()}
    assert names >= set(cli.COMMANDS)


def test_every_command_has_one_example():
    for name in cli.COMMANDS:
        source = (ROOT / "experiments" / "commands" / f"{name}.py").read_text()
        assert len(re.findall(rf"\n    Example: pinet-jax {name}", source)) == 1, name


def test_every_command_and_flag_is_spelled_as_the_program_has_it():
    wrong = []
    for where, (name, *words) in every_command():
        if name not in cli.COMMANDS:
            wrong.append(f"{where}: pinet-jax {name}")
            continue
        config = next((b for a, b in itertools.pairwise(words) if a == "--config"), None)
        if config is not None and config not in available_configs():
            if config not in OWN_CONFIGS and not config.startswith("{"):
                wrong.append(f"{where}: --config {config}")
            config = None
        if name not in BY_CONFIG:
            config = None
        flags = [word.partition("=")[0] for word in words if word.startswith("--")]
        if flags:
            known = flags_of(name, config and alike(config)) | {"--help"}
            wrong += [f"{where}: {name} {flag}" for flag in flags if flag not in known]
    assert wrong == []


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    text = path.read_text()
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    local = [link.partition("#")[0] for link in links if not link.startswith("http")]
    assert [link for link in local if not (path.parent / link).exists()] == []
    named = re.findall(r"`((?:docs|tests|experiments|pinet_jax|data_pipelines)/[\w./-]+)`", text)
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_configs_that_a_table_names_are_there():
    text = (ROOT / "docs" / "which_system.md").read_text()
    table = text.partition("## What is published")[0]
    names = re.findall(r"`([a-z]\w+)`", table)
    assert len(names) > 20
    assert [name for name in names if name not in available_configs()] == []


def test_published_figures_are_the_experiments():
    """Of `which_system.md`, against what the configs have."""
    text = (ROOT / "docs" / "which_system.md").read_text()
    table = text.partition("## What is published")[2].partition("## A choice")[0]
    prefix = {"SPM": "spm_", "DEKR": "dekr_", "CID": "cid_", "HigherHRNet": "higher_hrnet_",
              "AE": "ae_", "PINet": "", "SimpleBaseline": "simple_baseline_",
              "HRNet, top-down": "topdown_hrnet_"}  # fmt: skip
    rows = re.findall(r"^\| (\w[^|]*?) \| ([^|]*)\| ([^|]*)\| ([^|]*)\| ([^|]*)\|$", table, re.M)
    rows = {row[0]: row[1:] for row in rows if row[0] in prefix}
    assert rows.keys() == prefix.keys()
    for system, (ochuman, crowdpose, levels, coco) in rows.items():
        for dataset, cell in (("ochuman", ochuman), ("crowdpose", crowdpose), ("coco", coco)):
            paper = load_config(prefix[system] + dataset).paper
            stated = re.match(r"[\d.]+", cell)
            if paper is None:
                assert stated is None, (system, dataset)
            else:
                assert float(stated[0]) == pytest.approx(100 * paper.figures["AP"])
        if levels.strip():
            figures = load_config(prefix[system] + "crowdpose").paper.figures
            wanted = [100 * figures[f"AP_{level}"] for level in ("easy", "medium", "hard")]
            assert [float(x) for x in levels.split("/")] == pytest.approx(wanted)


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


# The guide to one's own keypoints, followed.

GUIDE = (ROOT / "docs" / "your_own_keypoints.md").read_text()


def block(text: str, name: str) -> str:
    return re.search(rf"```(?:python|json) {name}\n(.*?)```", text, re.S)[1]


@pytest.fixture
def mine(tmp_path):
    """Two pictures of 200 x 100, the second one stored turned; no labels yet."""
    folder = tmp_path / "mine"
    images = folder / "images" / "train"
    images.mkdir(parents=True)
    (folder / "skeleton.json").write_text(block(GUIDE, "skeleton"))
    Image.new("RGB", (200, 100)).save(images / "a.jpg")
    Image.new("RGB", (200, 100), "red").save(images / "b.jpg")
    return folder


def follow(script: str, folder, *arguments: str) -> str:
    file = folder.parent / f"{script}.py"
    file.write_text(block(GUIDE, script))
    done = subprocess.run(
        [sys.executable, file.name, folder.name, *arguments],
        cwd=folder.parent, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


def people_of(folder, split="train"):
    """The checked labels; there is no fault."""
    file = folder / "annotations" / f"person_keypoints_{split}.json"
    skeleton = Skeleton.from_json(folder / "skeleton.json")
    read = read_annotations([file], skeleton, folder / "images" / split)
    assert list(read.faults) == []
    return json.loads(file.read_text())["annotations"]


@pytest.mark.parametrize("visibility", [True, False])
def test_yolo_labels(mine, visibility):
    labels = mine / "labels" / "train"
    labels.mkdir(parents=True)
    points = [(0.5, 0.2, 2), (0.4, 0.3, 2), (0.6, 0.3, 1), (0.35, 0.6, 2), (0, 0, 0)]
    values = " ".join(str(x) for p in points for x in (p if visibility else p[:2]))
    (labels / "a.txt").write_text(f"0 0.5 0.5 0.4 0.8 {values}\n")
    (labels / "b.txt").write_text("")
    assert "2 images, 1 people" in follow("yolo_to_coco", mine, "train")
    (person,) = people_of(mine)
    assert person["bbox"] == pytest.approx([60, 10, 80, 80])
    assert person["keypoints"][:6] == pytest.approx([100, 20, 2, 80, 30, 2])
    assert person["keypoints"][6:9] == pytest.approx([120, 30, 1 if visibility else 2])
    assert person["keypoints"][12:] == [0, 0, 0]
    assert person["num_keypoints"] == 4


def test_label_studio_labels(mine):
    size = {"original_width": 200, "original_height": 100}
    box = {"x": 30, "y": 10, "width": 40, "height": 80, "rectanglelabels": ["person"]}
    nose = {"x": 50, "y": 20, "width": 0.5, "keypointlabels": ["nose"]}
    regions = [
        {"id": "r1", "type": "rectanglelabels", "value": box, **size},
        {"id": "k1", "type": "keypointlabels", "parentID": "r1", "value": nose, **size},
        {"id": "k2", "type": "keypointlabels", "parentID": "other", "value": nose, **size},
    ]
    task = {"data": {"image": "/data/upload/1/a.jpg"}, "annotations": [{"result": regions}]}
    empty = {"data": {"image": "/data/upload/1/b.jpg"}, "annotations": []}
    export = mine.parent / "project-1.json"
    export.write_text(json.dumps([task, empty]))
    assert "1 images, 1 people" in follow("label_studio_to_coco", mine, "train", export.name)
    (person,) = people_of(mine)
    assert person["bbox"] == pytest.approx([60, 10, 80, 80])
    assert person["keypoints"] == [100, 20, 2] + [0] * 12


def test_the_check_and_the_config(mine, capsys):
    labels = mine / "labels" / "train"
    labels.mkdir(parents=True)
    (labels / "a.txt").write_text("0 0.5 0.5 0.4 0.8 " + "0.5 0.2 2 " * 5)
    follow("yolo_to_coco", mine, "train")
    prepare.main("custom", data_dir=mine, check_only=True)

    config = mine.parent / "mine.py"
    config.write_text(block(GUIDE, "config"))
    experiment = load_config(str(config))
    assert experiment.model.skeleton.name == "upper_body"
    assert [part.name for part in experiment.model.parts] == ["head", "left", "right"]
    assert experiment.data.dataset == "mine"


def test_the_graph_of_the_guide(tmp_path):
    file = tmp_path / "my_graph.py"
    file.write_text(block((ROOT / "docs" / "graphs.md").read_text(), "graph"))
    experiment = load_config(str(file))
    assert experiment.model.refinement.graph.__name__ == "symmetric"
    assert experiment.synthetic is not None
