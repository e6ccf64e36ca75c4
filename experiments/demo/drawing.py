"""What the demo shows of an analysis: pictures, and a table of one person's keypoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from experiments.demo.analysis import Analysis, Look, Switches
from pinet_jax.evaluation.result_files import Entry, pose_entries
from pinet_jax.methods.pinet import PINet
from pinet_jax.visualization import draw_poses, person_color

_LONG_SIDE = 1280  # pixels of what the page shows; the downloaded picture has all of its own

TABLE_HEADERS = ("keypoint", "x", "y", "score", "part", "no.")


class Step(NamedTuple):
    """A picture and what it is."""

    picture: np.ndarray
    caption: str


def steps(
    look: Look, analysis: Analysis, method: PINet, switches: Switches, threshold: float
) -> list[Step]:
    """Coarse, refined and fused poses; a person has one colour in all of them.

    Args:
        look: what the network found.
        analysis: of it.
        method: the network's.
        switches: what the analysis was made with.
        threshold: people with a lower score are left out, and so are their candidates.
    """
    image, scale = _shrunk(look.image)
    shown = np.flatnonzero(analysis.scores >= threshold)
    members = [analysis.members[person] for person in shown]
    numbers = np.concatenate([*members, np.zeros(0, int)]).astype(int)
    owners = [int(person) for person, own in zip(shown, members, strict=True) for _ in own]

    def candidates(stage: str) -> np.ndarray:
        return draw_poses(
            image,
            analysis.candidates[stage][numbers] * scale,
            analysis.candidate_scores[stage][numbers],
            method.skeleton,
            score_threshold=-np.inf,
            colors=[person_color(owner) for owner in owners],
        )

    fused = draw_poses(
        image,
        analysis.keypoints * scale,
        analysis.scores,
        method.skeleton,
        score_threshold=threshold,
    )
    return [
        Step(candidates("coarse"), f"coarse: {len(numbers)} candidates"),
        Step(candidates("refined"), "refined" if switches.refinement else "refined: not used"),
        Step(fused, f"{'fused' if switches.fusion else 'best ones'}: {len(shown)} people"),
    ]


def person_picture(
    look: Look, analysis: Analysis, method: PINet, person: int, stage: str
) -> np.ndarray:
    """One person's candidates, a colour a part, on the faded photograph around them."""
    members = analysis.members[person]
    poses = analysis.candidates[stage][members]
    image, scale = _shrunk(look.image)
    drawn = draw_poses(
        (0.5 * image + 127).astype(np.uint8),
        poses * scale,
        analysis.candidate_scores[stage][members],
        method.skeleton,
        score_threshold=-np.inf,
        colors=[person_color(int(analysis.parts[member])) for member in members],
    )
    points = (analysis.keypoints[person, :, :2] * scale[:2]).clip(0, image.shape[1::-1])
    margin = 0.3 * np.ptp(points, axis=0).max() + 20
    left, top = np.maximum(points.min(axis=0) - margin, 0).astype(int)
    right, bottom = (points.max(axis=0) + margin).astype(int)
    return drawn[top:bottom, left:right]


def keypoint_table(analysis: Analysis, method: PINet, person: int) -> list[list[Any]]:
    """`TABLE_HEADERS` of every keypoint: where it is, and which candidate and part gave it."""
    number_of = {int(c): n for n, c in enumerate(analysis.members[person], 1)}
    return [
        [
            name,
            round(float(x), 1),
            round(float(y), 1),
            round(float(score), 3),
            method.parts[analysis.parts[source]].name,
            number_of[int(source)],
        ]
        for name, (x, y, score), source in zip(
            method.skeleton.keypoints,
            analysis.keypoints[person],
            analysis.sources[person],
            strict=True,
        )
    ]


def whole_picture(look: Look, analysis: Analysis, method: PINet, threshold: float) -> bytes:
    """The photograph in its own size with its people: a JPEG file."""
    drawn = draw_poses(
        look.image,
        analysis.keypoints,
        analysis.scores,
        method.skeleton,
        score_threshold=threshold,
    )
    return cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()


def result_entries(name: str, analysis: Analysis, threshold: float) -> list[Entry]:
    """The people in COCO's result format."""
    shown = analysis.scores >= threshold
    return pose_entries(name, analysis.keypoints[shown].astype(np.float32), analysis.scores[shown])


def _shrunk(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The image at `_LONG_SIDE` or smaller, and the factors [3] of x, y and score."""
    factor = min(1.0, _LONG_SIDE / max(image.shape))
    if factor < 1:
        image = cv2.resize(image, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    return image, np.array([factor, factor, 1])
