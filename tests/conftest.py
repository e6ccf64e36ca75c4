"""Strict JAX, warnings as errors, and the reference's golden figures."""

import os
import re
import signal

# Before the first import of JAX: several CPU devices, so that sharded code is tested as such.
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

from pathlib import Path

import jax
import numpy as np
import pytest

# A shell starts what runs in its background with Ctrl-C ignored, and so its children.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_compilation_cache_dir", str(ROOT / ".cache" / "jax-tests"))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)


def golden_path(name: str) -> Path:
    """A file of the reference's figures: the copy in tests/golden, else ../shared/golden."""
    for folder in (ROOT / "tests" / "golden", SHARED / "golden"):
        if (folder / name).exists():
            return folder / name
    pytest.skip(f"{name}: only in ../shared/golden, which is absent here")


def golden(name: str) -> dict[str, np.ndarray]:
    """The arrays of a golden npz file."""
    with np.load(golden_path(name), allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def shared_data(*parts: str) -> Path:
    """A file or folder of the real data beside the checkout; skips where it is absent."""
    path = SHARED.joinpath("data", *parts)
    if not path.exists():
        pytest.skip(f"{path.name}: only in ../shared/data, which is absent here")
    return path


def code_block(page: Path, name: str) -> str:
    """The code of a page's block that is marked with a name."""
    return re.search(rf"```(?:python|json) {name}\n(.*?)```", page.read_text(), re.S)[1]
