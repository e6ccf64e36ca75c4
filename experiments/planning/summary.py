"""A plan as JSON and as text."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from importlib import metadata
from typing import Any

from experiments.configs.base import ExperimentConfig
from experiments.planning.plan import Plan
from pinet_jax.config_json import to_json

# One core of the host at 512 x 512: docs/fidelity_and_speed.md, `pinet-jax benchmark --records`.
IMAGES_PER_CORE = 302.0


@dataclasses.dataclass(frozen=True)
class WholeTraining:
    """All steps of a training at the floor of each.

    Attributes:
        steps: as many as its epochs need.
        hours: of the pod.
        chip_hours: of all its chips.
    """

    steps: int
    hours: float
    chip_hours: float


def whole_training(
    plan: Plan, config: ExperimentConfig, epoch_images: float | None
) -> WholeTraining | None:
    """The whole training, or nothing where the size of an epoch is unknown.

    Args:
        plan: of its step.
        config: the experiment.
        epoch_images: of an epoch; by default what the config says of rendered or packed data.
    """
    data = config.packed or config.synthetic
    if epoch_images is None:
        if data is None:
            return None
        epoch_images = data.epoch_images
    steps = math.ceil(config.training.epochs * epoch_images / config.training.batch_size)
    hours = steps * plan.floors.call / 3600
    return WholeTraining(steps, hours, hours * plan.pod.chips)


def as_json(
    plan: Plan, config: ExperimentConfig, whole: WholeTraining | None, images_per_core: float
) -> dict[str, Any]:
    """All figures, with their units in their names; shares are between 0 and 1.

    Args:
        plan: the program on its pod.
        config: the experiment that it was made from, which is written, too.
        whole: the whole training, if its size is known.
        images_per_core: that a core of a host makes in a second.
    """
    pod, work, floors, peaks = plan.pod, plan.work, plan.floors, plan.pod.peaks
    host_images = plan.images_per_second / pod.hosts
    return {
        "program": plan.program,
        "topology": pod.name,
        "chips": pod.chips,
        "devices": len(pod.devices),
        "hosts": pod.hosts,
        "images_a_call": plan.images,
        "images_a_device": plan.images / len(pod.devices),
        "device": {
            "peaks": {
                "operations_per_second": peaks.arithmetic,
                "memory_bytes": peaks.memory,
                "memory_bytes_per_second": peaks.bandwidth,
                "link_bytes_per_second": peaks.links,
            },
            "memory_bytes": work.memory,
            "share_of_memory": work.memory / peaks.memory,
            "operations": work.operations,
            "slow_memory_traffic_bytes": work.slow_bytes,
            "counted_traffic_bytes": work.counted_bytes,
            "collectives": _collectives(plan),
            "layers": {
                name: {f"{kind}_bytes": count for kind, count in moved._asdict().items()}
                for name, moved in work.layers.items()
            },
        },
        "floor_seconds": floors._asdict() | {"call": floors.call},
        "share_of_floor": {
            name: seconds / floors.call for name, seconds in floors._asdict().items()
        },
        "counted_traffic_seconds": plan.counted_seconds,
        "images_per_second_at_most": plan.images_per_second,
        "weak_scaling": floors.scaling,
        "host_images_per_second": host_images,
        "images_per_core": images_per_core,
        "host_cores": host_images / images_per_core,
        "whole_training": None if whole is None else dataclasses.asdict(whole),
        "compile_seconds": plan.compile_seconds,
        "versions": {name: metadata.version(name) for name in ("jax", "libtpu")},
        "experiment": to_json(config),
    }


def _collectives(plan: Plan) -> dict[str, Any]:
    kinds = Counter((c.kind, "+".join(c.dtypes)) for c in plan.work.collectives)
    sent = Counter[tuple[str, str]]()
    for c in plan.work.collectives:
        sent[c.kind, "+".join(c.dtypes)] += c.bytes
    return {
        "count": kinds.total(),
        "bytes": sent.total(),
        "kinds": [
            {"kind": kind, "dtypes": dtypes, "count": count, "bytes": sent[kind, dtypes]}
            for (kind, dtypes), count in kinds.most_common()
        ],
    }


def as_text(plan: Plan, whole: WholeTraining | None, images_per_core: float) -> str:
    """A table for a terminal; every time in it is a floor."""
    pod, work, floors, peaks = plan.pod, plan.work, plan.floors, plan.pod.peaks
    sent = sum(c.bytes for c in work.collectives)
    host_images = plan.images_per_second / pod.hosts
    alone = f"{1e3 * floors.alone:.1f}"
    sending = f"{1e3 * floors.links:.2f} + 2 x {1e3 * floors.hops:.2f}"
    count = len(work.collectives)
    rows = [
        ("images a call", f"{plan.images}, {plan.images / len(pod.devices):g} a device"),
        ("memory a device", f"{_gib(work.memory)} of {_gib(peaks.memory)} GiB"),
        (
            "arithmetic",
            f"{work.operations / 1e12:.2f} T operations: {_floor(floors.arithmetic, plan)}",
        ),
        (
            "memory traffic",
            f"{work.slow_bytes / 1e9:.1f} GB of slow memory: {_floor(floors.memory, plan)}",
        ),
        ("links", f"{count} collectives, {sent / 1e6:.1f} MB: {_floor(floors.links, plan)}"),
        ("hops", f"{count} x {pod.hops} x 1 us: {_floor(floors.hops, plan)}"),
        ("floor of a call", f"{1e3 * floors.call:.1f} ms"),
        ("images a second", f"at most {plan.images_per_second:,.0f}"),
        (
            "by XLA's count",
            f"{work.counted_bytes / 1e9:.1f} GB with the fast memory's: "
            f"{1e3 * plan.counted_seconds:.1f} ms if all were slow, "
            f"{plan.images / plan.counted_seconds:,.0f} images/s",
        ),
        (
            "weak scaling",
            f"{100 * floors.scaling:.1f} % = {alone} / ({alone} + {sending}) ms, "
            "if nothing is sent while computing",
        ),
        (
            "each host's input",
            f"{host_images:,.0f} images/s, {host_images / images_per_core:.1f} cores "
            f"of {images_per_core:g} images/s",
        ),
    ]
    if plan.program == "train step":
        rows.append(("whole training", _whole(whole, plan)))
    rows.append(("compiled in", f"{plan.compile_seconds:.0f} s"))
    head = f"{plan.program} on {pod.name}: {pod.chips} chips, {pod.hosts} hosts"
    return "\n".join([head, "", *(f"{name:<18} {text}" for name, text in rows)])


def _gib(count: float) -> str:
    return f"{count / 2**30:.2f}"


def _floor(seconds: float, plan: Plan) -> str:
    return f"{1e3 * seconds:.2f} ms, {100 * seconds / plan.floors.call:.0f} % of the floor"


def _whole(whole: WholeTraining | None, plan: Plan) -> str:
    if whole is None:
        return "give --epoch-images, the images of an epoch"
    counted = whole.steps * plan.counted_seconds / 3600
    return (
        f"{whole.steps} steps, at least {whole.hours:.3g} hours, "
        f"{whole.chip_hours:,.3g} chip-hours; "
        f"by XLA's count {counted:.3g} and {counted * plan.pod.chips:,.3g}"
    )
