"""Keypoint sets: names, mirror pairs, OKS sigmas, graph edges and body partitions.

A skeleton is data. The two of the paper are here as `COCO_17` and `CROWDPOSE_14`; any other one is
read from a JSON file with `Skeleton.from_json` and trains just the same.

Legend for shapes: K keypoints, S parts.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pinet_jax.errors import InputError


class Part(NamedTuple):
    """A group of keypoints that votes for a whole pose (paper, section 3.1)."""

    name: str
    members: tuple[int, ...]


Partition = tuple[Part, ...]


@dataclasses.dataclass(frozen=True)
class Skeleton:
    """A set of keypoints.

    Attributes:
        name: what users call it.
        keypoints: the K names, in the order of the annotations.
        mirror_pairs: index pairs that change places in a mirrored image.
        sigmas: K OKS constants, as pycocotools has them (COCO's nose: 0.026).
        edges: index pairs joined by a limb; drawn, and the start of the refinement graph.
        partitions: (name, parts) pairs; "center", one part of all keypoints, is always there.
    """

    name: str
    keypoints: tuple[str, ...]
    mirror_pairs: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]
    edges: tuple[tuple[int, int], ...]
    partitions: tuple[tuple[str, Partition], ...] = ()

    def __post_init__(self) -> None:
        _check(self)

    @property
    def num_keypoints(self) -> int:
        """K."""
        return len(self.keypoints)

    @property
    def mirror_permutation(self) -> tuple[int, ...]:
        """The index of every keypoint's mirror image; its own inverse."""
        permutation = list(range(self.num_keypoints))
        for left, right in self.mirror_pairs:
            permutation[left], permutation[right] = right, left
        return tuple(permutation)

    @property
    def partition_names(self) -> tuple[str, ...]:
        """What `partition` takes."""
        return ("center", *(name for name, _ in self.partitions))

    def partition(self, name: str) -> Partition:
        """The parts of a partition strategy.

        Raises:
            InputError: the skeleton has no partition of this name.
        """
        partitions = {"center": self._center(), **dict(self.partitions)}
        if name not in partitions:
            raise InputError(
                f"skeleton {self.name}: no partition {name!r}; use one of {', '.join(partitions)}"
            )
        return partitions[name]

    def _center(self) -> Partition:
        return (Part("center", tuple(range(self.num_keypoints))),)

    def normalized_adjacency(self) -> np.ndarray:
        """D^-1/2 (A + I) D^-1/2 of the edges, float32 [K, K]; the start of the paper's graph."""
        adjacency = np.eye(self.num_keypoints)
        for a, b in self.edges:
            adjacency[a, b] = adjacency[b, a] = 1.0
        scale = adjacency.sum(axis=1) ** -0.5
        return (scale[:, None] * adjacency * scale[None, :]).astype(np.float32)

    def to_json(self) -> dict[str, Any]:
        """A JSON object in which keypoints go by name; `from_json` reads it back."""
        names = self.keypoints
        return {
            "name": self.name,
            "keypoints": list(names),
            "mirror_pairs": [[names[a], names[b]] for a, b in self.mirror_pairs],
            "sigmas": list(self.sigmas),
            "edges": [[names[a], names[b]] for a, b in self.edges],
            "partitions": {
                partition: {part.name: [names[k] for k in part.members] for part in parts}
                for partition, parts in self.partitions
            },
        }

    @classmethod
    def from_json(cls, source: str | Path | Mapping[str, Any]) -> Skeleton:
        """Reads a skeleton file, or an object already read from one.

        Raises:
            InputError: the file is no JSON, lacks a field, or names an unknown keypoint.
        """
        if isinstance(source, Mapping):
            return _from_object(source, where="skeleton")
        try:
            content = json.loads(Path(source).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise InputError(f"{source}: not a readable skeleton file ({error})") from error
        if not isinstance(content, Mapping):
            raise InputError(f"{source}: a skeleton file holds one JSON object")
        return _from_object(content, where=str(source))


def _from_object(content: Mapping[str, Any], where: str) -> Skeleton:
    missing = [f for f in ("name", "keypoints", "sigmas", "edges") if f not in content]
    if missing:
        raise InputError(f"{where}: lacks the field(s) {', '.join(missing)}")
    try:
        index = {name: k for k, name in enumerate(content["keypoints"])}
        pairs = [(index[a], index[b]) for a, b in content.get("mirror_pairs", ())]
        partitions = tuple(
            (partition, tuple(Part(p, tuple(index[k] for k in ks)) for p, ks in parts.items()))
            for partition, parts in content.get("partitions", {}).items()
        )
        return Skeleton(
            name=str(content["name"]),
            keypoints=tuple(content["keypoints"]),
            mirror_pairs=tuple(pairs),
            sigmas=tuple(float(s) for s in content["sigmas"]),
            edges=tuple((index[a], index[b]) for a, b in content["edges"]),
            partitions=partitions,
        )
    except KeyError as error:
        raise InputError(f"{where}: {error} is not among its keypoints") from error
    except InputError as error:
        raise InputError(f"{where}: {error}") from error
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{where}: a field has the wrong form ({error})") from error


def _check(skeleton: Skeleton) -> None:
    """Raises InputError where a skeleton contradicts itself."""
    count = len(skeleton.keypoints)
    groups: dict[str, Sequence[Sequence[int]]] = {
        "mirror_pairs": skeleton.mirror_pairs,
        "edges": skeleton.edges,
        **{f"partition {n}": [p.members for p in parts] for n, parts in skeleton.partitions},
    }
    problems = [
        f"{what} names keypoint {k} of {count}"
        for what, members in groups.items()
        for k in (k for group in members for k in group)
        if not 0 <= k < count
    ]
    if count == 0:
        problems.append("it has no keypoints")
    if len(set(skeleton.keypoints)) != count:
        problems.append("a keypoint name occurs twice")
    if len(skeleton.sigmas) != count:
        problems.append(f"{len(skeleton.sigmas)} sigmas for {count} keypoints")
    if not all(0 < s < float("inf") for s in skeleton.sigmas):
        problems.append("sigmas must be positive numbers")
    paired = [k for pair in skeleton.mirror_pairs for k in pair]
    if len(set(paired)) != len(paired):
        problems.append("a keypoint is in two mirror pairs")
    problems += [
        f"partition {name} has an empty part"
        for name, parts in skeleton.partitions
        if not parts or any(not part.members for part in parts)
    ]
    if problems:
        raise InputError(f"skeleton {skeleton.name}: {'; '.join(problems)}")


def _parts(**members: Sequence[int]) -> Partition:
    return tuple(Part(name, tuple(indices)) for name, indices in members.items())


def _one_by_one(head: Sequence[int], joints: Sequence[int], names: Sequence[str]) -> Partition:
    """The "keypoint" strategy: the head, and every joint of the body alone."""
    return (Part("head", tuple(head)), *(Part(names[j], (j,)) for j in joints))


_COCO_NAMES = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
)  # fmt: skip

COCO_17 = Skeleton(
    name="coco_17",
    keypoints=_COCO_NAMES,
    mirror_pairs=tuple((k, k + 1) for k in range(1, 17, 2)),
    sigmas=(0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
            0.107, 0.107, 0.087, 0.087, 0.089, 0.089),
    edges=((0, 1), (0, 2), (1, 2), (1, 3), (2, 4), (5, 6), (5, 11), (6, 12), (11, 12),
           (5, 7), (7, 9), (6, 8), (8, 10), (11, 13), (13, 15), (12, 14), (14, 16)),
    partitions=(
        ("head", _parts(head=range(5))),
        ("part-large", _parts(head=range(5), body=(5, 6, 11, 12), leg=range(11, 17))),
        # The paper's figure 3 does not list the members of "part-small": this reading is ours.
        ("part-small", _parts(head=range(5), torso=(5, 6, 11, 12), left_arm=(5, 7, 9),
                              right_arm=(6, 8, 10), left_leg=(11, 13, 15),
                              right_leg=(12, 14, 16))),
        ("keypoint", _one_by_one(range(5), range(5, 17), _COCO_NAMES)),
    ),
)  # fmt: skip

_CROWDPOSE_NAMES = (
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle", "head", "neck",
)  # fmt: skip

CROWDPOSE_14 = Skeleton(
    name="crowdpose_14",
    keypoints=_CROWDPOSE_NAMES,
    mirror_pairs=tuple((k, k + 1) for k in range(0, 12, 2)),
    sigmas=(0.079, 0.079, 0.072, 0.072, 0.062, 0.062, 0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
            0.079, 0.079),
    edges=((12, 13), (13, 0), (13, 1), (0, 1), (0, 6), (1, 7), (6, 7), (0, 2), (2, 4), (1, 3),
           (3, 5), (6, 8), (8, 10), (7, 9), (9, 11)),
    partitions=(
        ("head", _parts(head=(12, 13))),
        ("part-large", _parts(head=(12, 13), body=(0, 1, 6, 7), leg=range(6, 12))),
        ("part-small", _parts(head=(12, 13), torso=(0, 1, 6, 7), left_arm=(0, 2, 4),
                              right_arm=(1, 3, 5), left_leg=(6, 8, 10), right_leg=(7, 9, 11))),
        ("keypoint", _one_by_one((12, 13), range(12), _CROWDPOSE_NAMES)),
    ),
)  # fmt: skip
