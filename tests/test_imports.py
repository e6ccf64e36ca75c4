"""The house's arrows: who imports whom, read from the source of every module."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PACKAGES = ("experiments", "data_pipelines", "pinet_jax")  # each imports only those behind it

# Inside the library: what a layer may not import. Shared pieces know no method, networks know
# neither, and figures need none of them.
FORBIDDEN = {
    "pinet_jax/evaluation": (
        "jax",
        "flax",
        "pinet_jax.networks",
        "pinet_jax.methods",
        "pinet_jax.inference",
        "pinet_jax.training",
    ),
    "pinet_jax/targets.py": ("pinet_jax.methods", "pinet_jax.training"),
    "pinet_jax/losses.py": ("pinet_jax.methods", "pinet_jax.training"),
    "pinet_jax/decoding.py": ("pinet_jax.methods", "pinet_jax.training"),
    "pinet_jax/fusion.py": ("pinet_jax.methods", "pinet_jax.training"),
    "pinet_jax/networks": ("pinet_jax.methods", "pinet_jax.training", "pinet_jax.inference"),
    # The ring around the methods knows their contract, and none of them.
    "pinet_jax/training.py": ("pinet_jax.methods.pinet",),
    "pinet_jax/inference.py": ("pinet_jax.methods.pinet",),
    "pinet_jax/checkpoints.py": ("pinet_jax.methods.pinet",),
    "pinet_jax/complexity.py": ("pinet_jax.methods.pinet",),
    "pinet_jax/interop": ("pinet_jax.methods.pinet",),
}
# The only module that an import of TensorFlow at the top is allowed in: it defines TFDS's builders.
TENSORFLOW_AT_THE_TOP = "data_pipelines/builders/base.py"
TENSORFLOW = ("tensorflow", "tensorflow_datasets", "array_record")


def modules(*folders: str) -> list[Path]:
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def imported(file: Path, *, top_level: bool = False) -> set[str]:
    """Dotted names that a module imports, those inside functions too unless `top_level`."""
    tree = ast.parse(file.read_text())
    nodes = tree.body if top_level else ast.walk(tree)
    names: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def begins(name: str, prefix: str) -> bool:
    return name == prefix or name.startswith(f"{prefix}.")


def offences(files: list[Path], prefixes: tuple[str, ...]) -> list[str]:
    return [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in sorted(imported(file))
        if any(begins(name, prefix) for prefix in prefixes)
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_no_package_imports_one_above_it(package):
    above = PACKAGES[: PACKAGES.index(package)]
    assert offences(modules(package), (*above, "tests")) == []


@pytest.mark.parametrize("place", FORBIDDEN)
def test_layers_of_the_library(place):
    path = ROOT / place
    files = [path] if path.suffix else modules(place)
    assert files
    assert offences(files, FORBIDDEN[place]) == []


def test_commands_are_imported_by_the_entry_point_alone():
    """What two of them share has a place of its own."""
    files = [file for file in modules("experiments") if file.parent.name != "commands"]
    allowed = {ROOT / "experiments" / "cli.py"}
    assert offences([f for f in files if f not in allowed], ("experiments.commands",)) == []


def test_training_and_testing_stay_apart_from_benchmarks():
    files = modules("experiments/training", "experiments/testing")
    assert offences(files, ("experiments.benchmarks",)) == []


def test_tensorflow_stays_in_the_data_pipelines():
    assert offences(modules("pinet_jax", "experiments"), TENSORFLOW) == []
    at_the_top = {
        str(file.relative_to(ROOT))
        for file in modules("data_pipelines")
        if any(begins(n, p) for n in imported(file, top_level=True) for p in TENSORFLOW)
    }
    assert at_the_top == {TENSORFLOW_AT_THE_TOP}


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("experiments.commands.score", ("jax", "flax", "cv2", "matplotlib", "tensorflow")),
        ("experiments.commands.statistics", ("flax", "tensorflow")),
        ("experiments.commands.prepare", ("flax", "tensorflow")),
        ("experiments.commands.predict", ("tensorflow", "matplotlib")),
        ("experiments.commands.evaluate", ("tensorflow", "matplotlib")),
    ],
)
def test_a_command_starts_without_what_it_does_not_need(module, without):
    script = f"import sys, {module}; print([m for m in {without!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
