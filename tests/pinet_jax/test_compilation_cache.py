"""The commands' compilation cache: in the user's folder, never in the way."""

import logging

import jax
import platformdirs
import pytest

from pinet_jax.compilation_cache import use_user_cache


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
