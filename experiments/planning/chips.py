"""Chips of pods that are not there: their published peaks, and their compiler's view of a pod."""

from __future__ import annotations

import dataclasses
import importlib
import math
import os
import re
from importlib import metadata
from typing import Any

import jax
from jax.experimental import topologies
from packaging.requirements import Requirement

from pinet_jax.errors import UsageError

_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What a chip can do at best.

    Attributes:
        arithmetic: bfloat16 operations a second, a multiplication and an addition being two.
        memory: bytes.
        bandwidth: of the memory, bytes a second.
        links: bytes a second that all its links to neighbours send together.
    """

    arithmetic: float
    memory: float
    bandwidth: float
    links: float

    def share(self, devices: int) -> Chip:
        """What each of several devices, as JAX sees them, has of a chip."""
        return Chip(*(peak / devices for peak in dataclasses.astuple(self)))


# https://cloud.google.com/tpu/docs/v4, /v5e, /v5p, /v6e ("System architecture"), read November
# 2026. Links are half of the published bidirectional bandwidth. That page of v4 gives none for its
# links; theirs is from "How to Scale Your Model" (https://jax-ml.github.io/scaling-book/tpus).
CHIPS = {
    "v4": Chip(arithmetic=275e12, memory=32 * _GIB, bandwidth=1200e9, links=6 * 45e9),
    "v5e": Chip(arithmetic=197e12, memory=16 * _GIB, bandwidth=819e9, links=200e9),
    "v5p": Chip(arithmetic=459e12, memory=95 * _GIB, bandwidth=2765e9, links=600e9),
    "v6e": Chip(arithmetic=918e12, memory=32 * _GIB, bandwidth=1638e9, links=400e9),
}
# Seconds from a chip to its neighbour, however little is sent ("How to Scale Your Model",
# https://jax-ml.github.io/scaling-book/sharding, "A note on ICI latency").
HOP_SECONDS = 1e-6


@dataclasses.dataclass(frozen=True)
class Pod:
    """Some chips and their connections.

    Attributes:
        name: such as "v5e:16x16".
        devices: as JAX would see them; they compile and cannot run.
        chips: how many; some kinds have two devices a chip.
        hosts: machines that the chips are in.
        peaks: of one device.
    """

    name: str
    devices: list[jax.Device]
    chips: int
    hosts: int
    peaks: Chip

    @property
    def hops(self) -> int:
        """From a chip to the farthest one, along rings in each axis: no sum can take fewer."""
        axes = map(int, self.name.partition(":")[2].split("x"))
        return sum(size // 2 for size in axes)


def open_pod(name: str) -> Pod:
    """Asks libtpu for a pod that need not exist; sees nothing of a TPU that may be there.

    Args:
        name: kind and chips along each axis, such as "v5e:16x16" or "v5p:8x8x16".

    Raises:
        UsageError: there is no such pod, or libtpu is not the one for this JAX.
        ModuleNotFoundError: libtpu is not installed.
    """
    match = re.fullmatch(r"(\w+):(\d+(?:x\d+){1,2})", name)
    if match is None or match[1] not in CHIPS:
        raise UsageError(
            f"--topology {name}: give {', '.join(CHIPS)} and the chips along each axis, such as "
            "v5e:16x16 or v5p:8x8x16"
        )
    importlib.import_module("libtpu")
    check_libtpu(metadata.version("libtpu"))
    _compile_only()
    try:
        topology: Any = topologies.get_topology_desc(name, platform="tpu")
    except jax.errors.JaxRuntimeError as error:
        reason = str(error).splitlines()[0].partition(": ")[2]
        raise UsageError(f"--topology {name}: {reason}") from error
    devices = list(topology.devices)
    chips = math.prod(map(int, match[2].split("x")))
    hosts = len({device.process_index for device in devices})
    return Pod(name, devices, chips, hosts, CHIPS[match[1]].share(len(devices) // chips))


def check_libtpu(installed: str) -> None:
    """Refuses a libtpu that this JAX is not made for, whose programs it may not be able to read.

    Args:
        installed: its version.

    Raises:
        UsageError: it is another; the message says how to install the right one.
    """
    for requirement in map(Requirement, metadata.requires("jax") or ()):
        if requirement.name == "libtpu" and not requirement.specifier.contains(installed):
            raise UsageError(
                f"libtpu {installed} is installed, and JAX {jax.__version__} needs "
                f"{requirement.specifier}: pip install 'jax[tpu]=={jax.__version__}'"
            )


def _compile_only() -> None:
    """Keeps libtpu from looking for chips, for other hosts, and for who else has it open."""
    settings = {
        "TPU_SKIP_MDS_QUERY": "1",
        "TPU_ACCELERATOR_TYPE": "v5litepod-16",
        "TPU_WORKER_HOSTNAMES": "localhost",
        "TPU_WORKER_ID": "0",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "true",
    }
    for variable, value in settings.items():
        os.environ.setdefault(variable, value)
    jax.config.update("jax_platforms", "cpu")
