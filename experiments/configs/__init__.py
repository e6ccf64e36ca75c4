"""Experiments by name: a file with a `get_config()` each, and the rows of published tables."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from pathlib import Path

from experiments.configs import cid, dekr, higher_hrnet, paper_rows, rendered, spm
from experiments.configs.base import ExperimentConfig
from experiments.configs.topdown import EXPERIMENTS
from pinet_jax.errors import UsageError

ROWS = paper_rows.ROWS | cid.ROWS | dekr.ROWS | higher_hrnet.ROWS | rendered.ROWS | spm.ROWS

_NO_EXPERIMENTS = (
    "base", "cid", "dekr", "field_types", "higher_hrnet", "paper_rows", "rendered", "spm",
    "topdown",
)  # fmt: skip


def load_config(name: str) -> ExperimentConfig:
    """The experiment of a name, such as "ochuman" or "ochuman_spm", or of your own Python file.

    Raises:
        UsageError: there is no such experiment.
    """
    if name in ROWS:
        return ROWS[name].experiment()
    if name in EXPERIMENTS:
        return EXPERIMENTS[name]()
    path = Path(name)
    if path.suffix == ".py":
        if not path.is_file():
            raise UsageError(f"--config {name}: no such file")
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    elif name in available_configs():
        module = importlib.import_module(f"{__name__}.{name}")
    else:
        raise UsageError(
            f"--config {name}: use one of {', '.join(available_configs())}, or a Python file"
        )
    if not hasattr(module, "get_config"):
        raise UsageError(f"--config {name}: has no function get_config()")
    return module.get_config()


def available_configs() -> list[str]:
    """The names that `load_config` knows."""
    files = (module.name for module in pkgutil.iter_modules(__path__))
    return sorted([*(name for name in files if name not in _NO_EXPERIMENTS), *ROWS, *EXPERIMENTS])
