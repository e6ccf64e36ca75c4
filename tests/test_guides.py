"""README and docs: every command, flag, file and link is there, and figures are the configs'."""

import contextlib
import functools
import io
import itertools
import re
import shlex

import pytest

from experiments import cli
from experiments.configs import available_configs, load_config
from tests.conftest import ROOT, code_block

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


def test_the_graph_of_the_guide(tmp_path):
    file = tmp_path / "my_graph.py"
    file.write_text(code_block(ROOT / "docs" / "graphs.md", "graph"))
    experiment = load_config(str(file))
    assert experiment.model.refinement.graph.__name__ == "symmetric"
    assert experiment.synthetic is not None
