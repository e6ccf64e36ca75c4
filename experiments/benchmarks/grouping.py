"""How fast people are grouped on the device, beside the published procedure in Python.

    python -m experiments.benchmarks.grouping

Crowds of 30 people with 17 keypoints each, all of them found. The closer their tags, the more the
assignment has to do: it is timed for tags far apart, mixed, and thrown together; then the whole way
from heatmaps and tag maps to people, of whom every fifth keypoint has to be looked for.

On two shared x86-64 CPU cores, November 2026: 1.6, 1.5 and 3.1 ms an image on the device, 84, 46
and 40 times as fast as Python, which takes 10 to 45 % longer yet with the package that it was
published with (`munkres` 1.1.4); from maps to people 65 ms, 14 times as fast.
"""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro

from experiments.benchmarks import slow_grouping
from experiments.benchmarks.timing import time_in_turns
from pinet_jax.grouping import Candidates, GroupingConfig, group_candidates
from pinet_jax.methods.higher_hrnet import HigherHRNet
from pinet_jax.tag_decoding import find_people

_ORDER = HigherHRNet().order
_CONFIG = GroupingConfig()
_PEOPLE = 30
_SPREADS = {"far apart": 60.0, "mixed": 10.0, "thrown together": 3.0}


class Figures(NamedTuple):
    """Seconds an image: the best of all rounds, which says most on a machine with other work."""

    device: float
    python: float

    def __str__(self) -> str:
        """As a line of the table."""
        ratio = self.python / self.device
        return f"{1e3 * self.device:9.2f} ms{1e3 * self.python:9.1f} ms{ratio:8.0f} x"


def main(*, batch: int = 8, size: int = 256, rounds: int = 7) -> None:
    """Prints the times an image, on this machine.

    Args:
        batch: images at once on the device; Python takes one after the other.
        size: side of the maps, in the part that begins with maps.
        rounds: of which the best is shown.
    """
    print(f"{'per image of ' + str(batch):<38}{'device':>12}{'Python':>12}{'ratio':>10}")
    for name, spread in _SPREADS.items():
        print(f"{'grouping, tags ' + name:<38}{measure_grouping(spread, batch, rounds)}")
    print(f"{f'people of {size} x {size} maps':<38}{measure_people(size, batch, rounds)}")


def measure_grouping(spread: float, batch: int, rounds: int) -> Figures:
    """From candidates to groups.

    Args:
        spread: of the tags, see `slow_grouping.crowd`.
        batch: images at once on the device.
        rounds: of which the best is taken.
    """
    rng = np.random.default_rng(0)
    crowds = [slow_grouping.crowd(rng, people=_PEOPLE, spread=spread) for _ in range(batch)]
    values, xy, tags = (jnp.asarray(np.stack(arrays)) for arrays in zip(*crowds, strict=True))
    candidates = Candidates(xy[..., ::-1].astype(jnp.int32), values, tags)
    group = functools.partial(group_candidates, order=_ORDER, config=_CONFIG)
    program = jax.jit(jax.vmap(group))
    return _figures(
        lambda: program(candidates),
        lambda: [slow_grouping.group(*crowd, _ORDER) for crowd in crowds],
        batch,
        rounds,
    )


def measure_people(size: int, batch: int, rounds: int) -> Figures:
    """From maps to people: candidates, grouping, quarter shifts, and what people lack."""
    rng = np.random.default_rng(0)
    images = [_maps(rng, size) for _ in range(batch)]
    heatmaps, tags = jax.device_put(tuple(np.stack(x) for x in zip(*images, strict=True)))
    people = functools.partial(find_people, order=_ORDER, config=_CONFIG, limit=_PEOPLE)
    program = jax.jit(jax.vmap(people))
    return _figures(
        lambda: program(heatmaps, tags),
        lambda: [slow_grouping.find_people(*image, _ORDER) for image in images],
        batch,
        rounds,
    )


def _maps(rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Heatmap [K, S, S] and tags [K, 2, S, S] of a made-up crowd."""
    values, xy, own = slow_grouping.crowd(rng, people=_PEOPLE)
    heatmap = np.zeros((len(values), size, size), np.float32)
    tags = rng.normal(0, 10, (len(values), 2, size, size)).astype(np.float32)
    y, x = np.mgrid[:size, :size]
    found = rng.uniform(size=values.shape) < 0.8
    for k, person in np.argwhere(found):
        cx, cy = xy[k, person] % size
        bump = np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / 8) * values[k, person]
        heatmap[k] = np.maximum(heatmap[k], bump)
        near = (abs(x - cx) < 6) & (abs(y - cy) < 6)
        tags[k][:, near] = own[k, person][:, None]
    return heatmap, tags


def _figures(device: Any, python: Any, batch: int, rounds: int) -> Figures:
    seconds = time_in_turns({"device": device, "python": python}, rounds)
    return Figures(seconds["device"].best / batch, seconds["python"].best / batch)


if __name__ == "__main__":
    tyro.cli(main)
