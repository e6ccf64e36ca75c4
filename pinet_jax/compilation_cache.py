"""The persistent compilation cache of the commands: the second run of a size starts at once."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

import jax
import platformdirs


def use_user_cache() -> None:
    """Keeps compiled programs in the user's cache folder.

    Called by commands, never on import: a program that uses the library chooses for itself. A
    folder that is already set (by `JAX_COMPILATION_CACHE_DIR`, say) stays. Where the folder
    cannot be written, one line says so and everything is compiled anew.
    """
    if jax.config.jax_compilation_cache_dir is not None:  # type: ignore[attr-defined]
        return
    folder = Path(platformdirs.user_cache_dir("pinet_jax", appauthor=False)) / "compiled"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder may exist and yet be read-only
            pass
    except OSError as error:
        logging.getLogger(__name__).warning(
            "%s: cannot be written (%s), so every run compiles anew", folder, error.strerror
        )
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
