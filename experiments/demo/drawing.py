"""What the demo shows of an analysis: pictures, and a table of one person's keypoints."""

from __future__ import annotations

from typing import Any, NamedTuple

import cv2
import numpy as np

from experiments.demo.analysis import Analysis, Look, Switches
from pinet_jax.evaluation.result_files import Entry, pose_entries
from pinet_jax.images import read_image
from pinet_jax.methods.pinet import PINet
from pinet_jax.visualization import draw_poses, person_color

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
    scale = look.view_scale
    shown = np.flatnonzero(analysis.scores >= threshold)
    members = [analysis.members[person] for person in shown]
    numbers = np.concatenate([*members, np.zeros(0, int)]).astype(int)
    owners = [int(person) for person, own in zip(shown, members, strict=True) for _ in own]

    def candidates(stage: str) -> np.ndarray:
        return draw_poses(
            look.view,
            analysis.candidates[stage][numbers] * scale,
            analysis.candidate_scores[stage][numbers],
            method.skeleton,
            score_threshold=-np.inf,
            colors=[person_color(owner) for owner in owners],
        )

    fused = draw_poses(
        look.view,
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
    image, scale = look.view, look.view_scale
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
    """`TABLE_HEADERS` of every keypoint: its pixel, and which candidate and part gave it."""
    number_of = {int(c): n for n, c in enumerate(analysis.members[person], 1)}
    return [
        [
            name,
            round(float(x)),
            round(float(y)),
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
    """The photograph in its own size with its people: a JPEG file.

    Raises:
        InputError: the photograph is no longer there.
    """
    drawn = draw_poses(
        read_image(look.path),
        analysis.keypoints,
        analysis.scores,
        method.skeleton,
        score_threshold=threshold,
    )
    return cv2.imencode(".jpg", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()


def result_entries(look: Look, analysis: Analysis, threshold: float) -> list[Entry]:
    """The people in COCO's result format; the photograph is called by its file's name."""
    shown = analysis.scores >= threshold
    keypoints = analysis.keypoints[shown].astype(np.float32)
    return pose_entries(look.path.name, keypoints, analysis.scores[shown])
