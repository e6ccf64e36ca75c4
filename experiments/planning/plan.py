"""A program compiled for a pod, and what its chips' published peaks allow at best.

All times are floors: no chip reaches its peaks.
"""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from experiments.configs.base import ExperimentConfig
from experiments.planning.chips import HOP_SECONDS, Chip, Pod
from experiments.planning.collectives import Collective, find_collectives
from experiments.planning.programs import lower_inference, lower_train_step
from experiments.planning.traffic import Traffic, traffic_by_layer
from pinet_jax.errors import InputError
from pinet_jax.methods.base import abstract_variables
from pinet_jax.runtime import make_mesh
from pinet_jax.training import Training

FRAMES_PER_CHIP = 8  # of inference, as `inference.default_batch_size` has it
# "(18.78G) exceeds available HBM (15.75G)", or "Used 18.78G of 15.75G hbm".
_EXHAUSTED = re.compile(r"Ran out of memory.*?([\d.]+)([KMG])\b.*?([\d.]+)([KMG])\b", re.DOTALL)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


class Work(NamedTuple):
    """What one device does in one call of a program.

    Attributes:
        operations: floating-point ones.
        counted_bytes: read and written by the compiler's count, in the slow memory and the fast.
        collectives: what it exchanges.
        memory: bytes that it needs.
        layers: what is read and written for each.
    """

    operations: float
    counted_bytes: float
    collectives: list[Collective]
    memory: int
    layers: dict[str, Traffic]

    @property
    def slow_bytes(self) -> int:
        """Of all layers, those that go through the slow memory."""
        return sum(layer.slow for layer in self.layers.values())


class Floors(NamedTuple):
    """Seconds that a call takes at least, by each limit alone.

    Attributes:
        arithmetic: by the peak of its operations.
        memory: by the bandwidth of its slow memory.
        links: by the bandwidth of the links.
        hops: by the way to the farthest chip, once for every collective.
    """

    arithmetic: float
    memory: float
    links: float
    hops: float

    @property
    def alone(self) -> float:
        """Of a chip without any others."""
        return max(self.arithmetic, self.memory)

    @property
    def call(self) -> float:
        """If all that can go on at once did."""
        return max(self)

    @property
    def scaling(self) -> float:
        """The share of a single chip's speed that is left if nothing is sent while computing.

        A sum in two passes goes to the farthest chip and back.
        """
        return self.alone / (self.alone + self.links + 2 * self.hops)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A program on a pod.

    Attributes:
        program: "train step" or "inference".
        pod: the chips.
        images: of all chips, in one call.
        work: of one device.
        compile_seconds: that its compilation took here.
    """

    program: str
    pod: Pod
    images: int
    work: Work
    compile_seconds: float

    @property
    def floors(self) -> Floors:
        """By the chips' published peaks."""
        return floors(self.work, self.pod)

    @property
    def images_per_second(self) -> float:
        """Of all chips, at the floor."""
        return self.images / self.floors.call

    @property
    def counted_seconds(self) -> float:
        """Of a call, if all bytes of the compiler's count went through the slow memory."""
        return max(self.work.counted_bytes / self.pod.peaks.bandwidth, self.floors.call)


def plan_training(config: ExperimentConfig, pod: Pod) -> Plan:
    """Compiles an experiment's train step.

    Raises:
        InputError: it does not fit the chips, or the batch cannot be shared among them.
    """
    lowered = lower_train_step(config, make_mesh(pod.devices))

    def advice(message: str) -> str:
        return too_large(message, config, pod)

    # The compiler counts the body of the loop over a batch's shares once.
    work, seconds = _compiled(lowered, advice, repeated=config.training.accumulate)
    return Plan("train step", pod, config.training.batch_size, work, seconds)


def plan_inference(config: ExperimentConfig, pod: Pod) -> Plan:
    """Compiles an experiment's test procedure, for 8 frames a chip.

    Raises:
        InputError: it does not fit the chips.
    """
    frames = FRAMES_PER_CHIP * len(pod.devices)
    lowered = lower_inference(config, make_mesh(pod.devices), frames)

    def advice(message: str) -> str:
        used, there = _exhausted(message)
        return (
            f"{pod.name}: inference needs {used / 2**30:.1f} of {there / 2**30:.1f} GiB a device; "
            "give fewer --inference.scales or a smaller --inference.input-size"
        )

    work, seconds = _compiled(lowered, advice)
    return Plan("inference", pod, frames, work, seconds)


def floors(work: Work, pod: Pod) -> Floors:
    """What the peaks allow at best."""
    peaks: Chip = pod.peaks
    devices = len(pod.devices)
    # Around a ring, a sum passes twice what a device puts in, all else once; less its own part.
    passed = sum((1 + (c.kind == "all-reduce")) * c.bytes for c in work.collectives)
    return Floors(
        arithmetic=work.operations / peaks.arithmetic,
        memory=work.slow_bytes / peaks.bandwidth,
        links=passed * (devices - 1) / devices / peaks.links,
        hops=len(work.collectives) * pod.hops * HOP_SECONDS,
    )


def _compiled(lowered: Any, advice: Callable[[str], str], repeated: int = 1) -> tuple[Work, float]:
    """What one call does, and the seconds of compilation.

    Args:
        lowered: the program.
        advice: from the compiler's message that it does not fit.
        repeated: how often the program's one loop over the batch is passed.
    """
    start = time.perf_counter()
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise InputError(advice(str(error))) from error
    seconds = time.perf_counter() - start
    cost, memory = compiled.cost_analysis(), compiled.memory_analysis()
    program = compiled.as_text()
    layers = traffic_by_layer(program)
    work = Work(
        operations=repeated * cost["flops"],
        counted_bytes=repeated * cost["bytes accessed"],
        collectives=repeated * find_collectives(program),
        memory=memory.argument_size_in_bytes
        + memory.temp_size_in_bytes
        + memory.generated_code_size_in_bytes
        + memory.output_size_in_bytes
        - memory.alias_size_in_bytes,
        layers={name: moved.times(repeated) for name, moved in layers.items()},
    )
    return work, seconds


def too_large(message: str, config: ExperimentConfig, pod: Pod) -> str:
    """What to do about a train step that does not fit, on one line.

    What would fit is estimated: all but the state grows with the images.

    Args:
        message: the compiler's.
        config: the experiment.
        pod: the chips.
    """
    used, there = _exhausted(message)
    training = Training.make(config.model, config.training, steps_per_epoch=1)
    state = jax.eval_shape(training.init_state, abstract_variables(config.model))
    held = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    at_once = config.training.batch_size // config.training.accumulate // len(pod.devices)
    room = int(max(there - held, 0) / (used - held) * at_once)  # images a device, rounded down
    ways = []
    if not config.training.bfloat16:
        ways.append("--training.bfloat16")
    if not config.training.remat:
        ways.append("--training.remat")
    if room:
        total = config.training.batch_size // len(pod.devices)
        shares = next(n for n in range(1, total + 1) if total % n == 0 and total // n <= room)
        ways.append(f"--training.accumulate {shares} (about {total // shares} images at once)")
        ways.append(f"--training.batch-size {room * len(pod.devices)} (about {room} a device)")
    return (
        f"{pod.name}: the train step needs {used / 2**30:.1f} of {there / 2**30:.1f} GiB a device "
        f"for {at_once} images; try {', or '.join(ways) or 'smaller images'}"
    )


def _exhausted(message: str) -> tuple[float, float]:
    """Bytes needed and bytes there, of the compiler's message.

    Raises:
        InputError: it is about something else.
    """
    match = _EXHAUSTED.search(message)
    if match is None:
        raise InputError(f"the TPU compiler refuses the program: {message.splitlines()[0]}")
    return float(match[1]) * _UNITS[match[2]], float(match[3]) * _UNITS[match[4]]
