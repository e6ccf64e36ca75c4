"""What concerns the machine: compilation, its cache, memory, and how arrays lie on devices."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pinet_jax.errors import InputError

# Of <malloc.h>.
_TRIM_THRESHOLD, _MMAP_MAX = -1, -4


def compiler_options(platform: str) -> dict[str, str]:
    """Options to compile a network's programs with.

    Args:
        platform: of the devices that the program is for: cpu, cuda, tpu.
    """
    if platform != "cpu":
        return {}
    return {
        # Without the pass that takes optimization barriers out, and does so before fusion: fusion
        # then keeps to `networks.materialization`.
        "xla_disable_hlo_passes": "cse_barrier_expander",
        # As fast as 3, the default, and compiled in two thirds of the time.
        "xla_backend_optimization_level": "2",
    }


def make_mesh(devices: Sequence[jax.Device] | None = None) -> Mesh:
    """Devices in a row along the axis "data"; by default all of all processes."""
    devices = list(devices or jax.devices())
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def platform_of(mesh: Mesh) -> str:
    """The platform of a mesh's devices: cpu, gpu, tpu."""
    return mesh.devices.flat[0].platform


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: variables, a training's state."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_image(mesh: Mesh) -> NamedSharding:
    """Every device holds its images: a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def require_devices() -> None:
    """Finds the devices of this process.

    Raises:
        InputError: there are none, as without the plugin that JAX_PLATFORMS asks for.
    """
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # the latter where no plugin is registered
        asked = os.environ.get("JAX_PLATFORMS", "")
        reason = f" ({str(error).splitlines()[0]})" if str(error) else ""
        raise InputError(
            f"JAX_PLATFORMS={asked}: JAX finds no such device{reason}; install what it needs "
            "(pip install 'pinet-jax[cuda]' or 'pinet-jax[tpu]'), or unset JAX_PLATFORMS"
        ) from error


@contextlib.contextmanager
def memory_advice(advice: str) -> Iterator[None]:
    """Says what helps where the memory of a device, or the machine's, does not suffice.

    Raises:
        InputError: it did not, inside.
    """
    try:
        yield
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        words = ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY", "out of memory")
        if not isinstance(error, MemoryError) and not any(word in str(error) for word in words):
            raise
        raise InputError(f"not enough memory {advice}") from error


def keep_freed_memory() -> None:
    """Tells the C library to hand no memory back to the system before the process ends.

    XLA's CPU client frees its temporary memory after every call. The system would clear it again,
    page by page, in the next one: a quarter of a step of a small network. Called by commands before
    anything is computed, never on import. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    mallopt(_TRIM_THRESHOLD, -1)  # never shrink the heap
    mallopt(_MMAP_MAX, 0)  # large pieces come from the heap, too
    # Programs run in the thread that calls them: heaps of XLA's own thread are too small for large
    # pieces. Sending every thread to the one heap (M_ARENA_MAX) would do as well, but XLA then
    # compiles for half as long again, and what it has compiled runs at 60 % of its speed.
    jax.config.update("jax_cpu_enable_async_dispatch", False)


def use_user_cache() -> None:
    """Keeps compiled programs in the user's cache folder.

    Called by commands, never on import: a program that uses the library chooses for itself. A
    folder that is already set (by `JAX_COMPILATION_CACHE_DIR`, say) stays. Where the folder
    cannot be written, one line says so and everything is compiled anew.
    """
    import platformdirs  # here, so that networks need nothing that a GPU's machine may lack

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
