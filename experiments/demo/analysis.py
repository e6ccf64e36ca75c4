"""How the poses of one photograph come to be: candidates, groups, and who gave which keypoint.

The network runs once for a photograph, with and without its mirror image. What the switches change
after that, refinement, fusion and thresholds, is a small program of the poses alone.

Legend for shapes: N candidates (padded), K keypoints, M people.
"""

from __future__ import annotations

import dataclasses
import functools
from pathlib import Path

import cv2
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
_LONG_SIDE = 1024  # pixels of a view: larger ones take longer to draw than a slider should


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
        path: its file, for whoever needs all pixels.
        size: its width and height, in pixels.
        view: uint8 [h, w, 3], RGB: the photograph, no larger than a page shows it.
        frame: of the photograph, without pixels.
        frame_area: in pixels.
        stages: padded candidates "coarse" and "refined", [N, K, 3] and so on, in frame pixels.
        parts: [N], the part that each candidate grew from.
    """

    path: Path
    size: tuple[int, int]
    view: np.ndarray
    frame: Frame
    frame_area: int
    stages: dict[str, PoseSet]
    parts: np.ndarray

    @property
    def view_scale(self) -> np.ndarray:
        """[3], takes (x, y, score) of the photograph to the view."""
        height, width = self.view.shape[:2]
        return np.array([width / self.size[0], height / self.size[1], 1])


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
        self._remembered = functools.lru_cache(2 * _PHOTOGRAPHS_KEPT)(self._look)

    def look(self, path: Path, flip: bool) -> Look:
        """Runs the network, or remembers what it found.

        Raises:
            InputError: the file is no picture.
        """
        return self._remembered(path, flip)

    def _look(self, path: Path, flip: bool) -> Look:
        image, predictor = read_image(path), self._predictors[flip]
        check_proportions((image.shape[0], image.shape[1]), str(path))
        prepared = predictor.prepare([image])
        (batch,), ((frame,),) = prepared
        stages = jax.tree.map(lambda x: x[0], predictor.run(batch))
        scales, count = self.inference.scales, len(self.method.parts)
        per_part = len(stages["coarse"].mask) // (len(scales) * count)
        parts = np.tile(np.arange(count).repeat(per_part), len(scales))
        height, width = batch.pixels[scales.index(1.0)].shape[1:3]
        size = image.shape[1], image.shape[0]
        return Look(path, size, _shrunk(image), frame, height * width, stages, parts)

    def analyze(self, look: Look, switches: Switches) -> Analysis:
        """Groups and fuses candidates as the switches say."""
        groups, final = jax.device_get(
            self._group(
                look.stages["refined" if switches.refinement else "coarse"],
                jnp.float32(switches.oks_threshold),
                look.frame_area,
                fused=switches.fusion,
            )
        )
        keypoints, sources = _taken_apart(final.keypoints[final.mask])
        return Analysis(
            keypoints=_restored(keypoints, look.frame),
            scores=final.scores[final.mask],
            members=_members(groups, sources),
            sources=sources,
            candidates={
                name: _restored(np.asarray(poses.keypoints), look.frame)
                for name, poses in look.stages.items()
            },
            candidate_scores={name: np.asarray(x.scores) for name, x in look.stages.items()},
            parts=look.parts,
        )

    @functools.partial(jax.jit, static_argnames=("self", "fused"))
    def _group(
        self, poses: PoseSet, threshold: jax.Array, frame_area: int, *, fused: bool
    ) -> tuple[fusion.Grouping, PoseSet]:
        """Groups and people, whose keypoints are `_numbered`."""
        numbered = poses._replace(keypoints=_numbered(poses.keypoints))
        groups = fusion.group_poses(numbered, self.method.skeleton.sigmas, threshold)
        inference = dataclasses.replace(self.inference, fusion=fused)
        return groups, self.method.grouped(groups, inference, frame_area)


def _numbered(keypoints: jax.Array) -> jax.Array:
    """[N, K, 3] -> [N, K, 4]: every keypoint carries its candidate's number through fusion."""
    numbers = jnp.arange(len(keypoints), dtype=keypoints.dtype)
    column = jnp.broadcast_to(numbers[:, None, None], (*keypoints.shape[:2], 1))
    return jnp.concatenate([keypoints, column], axis=-1)


def _taken_apart(numbered: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Keypoints [..., K, 3], and the numbers [..., K] of the candidates that gave them."""
    return numbered[..., :3], numbered[..., 3].astype(int)


def _members(groups: fusion.Grouping, sources: np.ndarray) -> list[np.ndarray]:
    """The candidates of people whose keypoints come from `sources` [M, K], the best ones first."""
    numbers = np.asarray(groups.poses.keypoints)[:, 0, 3].astype(int)  # [N], as they are sorted
    group_of = dict(zip(numbers.tolist(), groups.leader.tolist(), strict=True))
    return [
        numbers[groups.poses.mask & (groups.leader == group_of[number])]
        for number in sources[:, 0].tolist()
    ]


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image, or a copy whose longer side is `_LONG_SIDE`."""
    factor = _LONG_SIDE / max(image.shape)
    if factor >= 1:
        return image
    return cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _restored(keypoints: np.ndarray, frame: Frame) -> np.ndarray:
    """[..., K, 3] of the frame, in pixels of the photograph."""
    points = restore_points(keypoints[..., :2], frame.matrix)
    return np.concatenate([points, keypoints[..., 2:]], axis=-1)
