"""How the poses of one photograph come to be: candidates, groups, and who gave which keypoint.

The network runs once for a photograph, with and without its mirror image. What the switches change
after that, refinement, fusion and thresholds, is a small program of the poses alone.

Legend for shapes: N candidates (padded), K keypoints, M people.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax import fusion
from pinet_jax.errors import InputError
from pinet_jax.frames import Frame, check_proportions, restore_points
from pinet_jax.images import read_image
from pinet_jax.inference import Predictor
from pinet_jax.interop.model_files import Model
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.poses import PoseSet

_PHOTOGRAPHS_KEPT = 4


@dataclasses.dataclass(frozen=True)
class Switches:
    """What the page can change; by default as the checkpoint is tested."""

    flip: bool = True
    refinement: bool = True
    fusion: bool = True
    oks_threshold: float = 0.7


@dataclasses.dataclass(frozen=True)
class Look:
    """What the network finds in a photograph.

    Attributes:
        image: uint8 [H, W, 3], RGB.
        frame: of the photograph, without pixels.
        frame_area: in pixels.
        stages: padded candidates "coarse" and "refined", [N, K, 3] and so on, in frame pixels.
        parts: [N], the part that each candidate grew from.
    """

    image: np.ndarray
    frame: Frame
    frame_area: int
    stages: dict[str, PoseSet]
    parts: np.ndarray


@dataclasses.dataclass(frozen=True)
class Analysis:
    """The people of a photograph, and whom they are made of.

    Attributes:
        keypoints: [M, K, 3], in pixels of the photograph, best first.
        scores: [M].
        members: for each of the M people the numbers of their candidates.
        sources: [M, K], the candidate that gave a keypoint.
        candidates: by stage [N, K, 3], in pixels of the photograph.
        candidate_scores: by stage [N].
        parts: [N], the part that each candidate grew from.
    """

    keypoints: np.ndarray
    scores: np.ndarray
    members: list[np.ndarray]
    sources: np.ndarray
    candidates: dict[str, np.ndarray]
    candidate_scores: dict[str, np.ndarray]
    parts: np.ndarray


class Analyst:
    """A network that says how it finds people.

    Attributes:
        method: its method.
        inference: how the checkpoint is tested.
    """

    def __init__(self, model: Model) -> None:
        """Takes a network.

        Raises:
            InputError: it is not PINet's, whose candidates these are.
        """
        if not isinstance(model.method, PINet) or not isinstance(model.inference, PINetInference):
            name = type(model.method).__name__
            raise InputError(f"the demo shows how PINet finds people; use `predict` for {name}")
        self.method = model.method
        self.inference = dataclasses.replace(model.inference, refinement=True)
        self._predictors = {
            flip: Predictor(
                self.method, model.variables, dataclasses.replace(self.inference, flip=flip)
            )
            for flip in (False, True)
        }
        self._looks: collections.OrderedDict[tuple[Path, bool], Look] = collections.OrderedDict()

    def look(self, path: Path, flip: bool) -> Look:
        """Runs the network, or remembers what it found.

        Raises:
            InputError: the file is no picture.
        """
        key = path, flip
        if key not in self._looks:
            self._looks[key] = self._look(path, self._predictors[flip])
            while len(self._looks) > 2 * _PHOTOGRAPHS_KEPT:
                self._looks.popitem(last=False)
        return self._looks[key]

    def _look(self, path: Path, predictor: Predictor) -> Look:
        image = read_image(path)
        check_proportions((image.shape[0], image.shape[1]), str(path))
        prepared = predictor.prepare([image])
        (batch,), ((frame,),) = prepared
        stages = jax.tree.map(lambda x: x[0], predictor.run(batch))
        scales, count = self.inference.scales, len(self.method.parts)
        per_part = len(stages["coarse"].mask) // (len(scales) * count)
        parts = np.tile(np.arange(count).repeat(per_part), len(scales))
        height, width = batch.pixels[scales.index(1.0)].shape[1:3]
        return Look(image, frame, height * width, stages, parts)

    def analyze(self, look: Look, switches: Switches) -> Analysis:
        """Groups and fuses candidates as the switches say."""
        stage = "refined" if switches.refinement else "coarse"
        groups, final = jax.device_get(
            self._group(
                look.stages[stage],
                jnp.float32(switches.oks_threshold),
                fused=switches.fusion,
                frame_area=look.frame_area,
            )
        )
        order = _falling(look.stages[stage])
        people = [_person(groups, final, int(place)) for place in np.flatnonzero(final.mask)]
        k = self.method.skeleton.num_keypoints
        return Analysis(
            keypoints=_restored(np.asarray(final.keypoints)[final.mask], look.frame),
            scores=np.asarray(final.scores)[final.mask],
            members=[order[members] for members, _ in people],
            sources=np.array([order[sources] for _, sources in people]).reshape(-1, k),
            candidates={
                name: _restored(np.asarray(poses.keypoints), look.frame)
                for name, poses in look.stages.items()
            },
            candidate_scores={name: np.asarray(x.scores) for name, x in look.stages.items()},
            parts=look.parts,
        )

    @functools.partial(jax.jit, static_argnames=("self", "fused", "frame_area"))
    def _group(
        self, poses: PoseSet, threshold: jax.Array, *, fused: bool, frame_area: int
    ) -> tuple[fusion.Grouping, PoseSet]:
        groups = fusion.group_poses(poses, self.method.skeleton.sigmas, threshold)
        inference = dataclasses.replace(self.inference, fusion=fused)
        return groups, self.method.grouped(groups, inference, frame_area)


def _falling(poses: PoseSet) -> np.ndarray:
    """[N], the order that `fusion.group_poses` has the candidates in."""
    return np.argsort(np.where(poses.mask, -poses.scores, np.inf), kind="stable")


def _person(groups: fusion.Grouping, final: PoseSet, place: int) -> tuple[np.ndarray, np.ndarray]:
    """The members of a person's group, and for every keypoint the one that it is copied from.

    Returns:
        Numbers in the order of `groups`: of the members, the leader first; [K] of the sources.
    """
    wanted, poses = final.keypoints[place], groups.poses
    for leader in np.flatnonzero(groups.leads):
        members = np.flatnonzero(poses.mask & (groups.leader == leader))
        same = (poses.keypoints[members] == wanted).all(axis=-1)  # [members, K]
        if same.any(axis=0).all():
            return members, members[same.argmax(axis=0)]
    raise AssertionError("a person without candidates")


def _restored(keypoints: np.ndarray, frame: Frame) -> np.ndarray:
    """[..., K, 3] of the frame, in pixels of the photograph."""
    points = restore_points(keypoints[..., :2], frame.matrix)
    return np.concatenate([points, keypoints[..., 2:]], axis=-1)
