"""The compilation cache in the user's folder, and memory that stays with the process."""

import logging
import subprocess
import sys

import jax
import platformdirs
import pytest

from pinet_jax.runtime import use_user_cache

# Counts the page faults of a program that needs 128 MiB for a moment, after it was run before.
SCRIPT = """
import resource, sys
import jax, jax.numpy as jnp
from pinet_jax.runtime import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

@jax.jit
def program(x):  # [4096]
    products = x[:, None, None] * jnp.arange(8192.0).reshape(-1, 4)  # 128 MiB
    return jnp.sum(jnp.sort(products, axis=-1))

x = jnp.ones(4096)
for _ in range(2):
    program(x).block_until_ready()
counts = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))  # now and then the heap grows, when something small lies in the way
"""


def page_faults(word: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_is_not_asked_for_twice():
    # 32768 pages; 64 where the system has huge ones.
    assert page_faults("kept") < 30 < page_faults("freed")


@pytest.fixture
def unset():
    before = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    yield
    jax.config.update("jax_compilation_cache_dir", before)


def user_cache_at(folder, monkeypatch):
    monkeypatch.setattr(platformdirs, "user_cache_dir", lambda *_, **__: str(folder))


def test_the_users_folder_is_made_and_used(tmp_path, monkeypatch, unset):
    user_cache_at(tmp_path / "cache", monkeypatch)
    use_user_cache()
    folder = jax.config.jax_compilation_cache_dir
    assert folder.startswith(str(tmp_path / "cache"))
    jax.jit(lambda x: x + 1)(1.0)  # a folder that jax can use
    assert not list((tmp_path / "cache").rglob("tmp*"))


def test_a_folder_set_already_stays(tmp_path, monkeypatch):
    user_cache_at(tmp_path / "cache", monkeypatch)
    before = jax.config.jax_compilation_cache_dir
    use_user_cache()
    assert jax.config.jax_compilation_cache_dir == before
    assert not (tmp_path / "cache").exists()


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch, unset, caplog):
    (tmp_path / "file").touch()
    user_cache_at(tmp_path / "file", monkeypatch)
    with caplog.at_level(logging.WARNING):
        use_user_cache()
    assert jax.config.jax_compilation_cache_dir is None
    (record,) = caplog.records
    assert "cannot be written" in record.getMessage() and "\n" not in record.getMessage()
