"""What becomes of a user's poses: entries of poses.json, and lines over a picture."""

from __future__ import annotations

import numpy as np

from pinet_jax.evaluation.result_files import GrowingResults, pose_entries
from pinet_jax.poses import Poses
from pinet_jax.skeletons import Skeleton
from pinet_jax.visualization import draw_poses


class PoseOutput:
    """Adds poses to poses.json, and draws them.

    Attributes:
        num_drawn: of the poses that were added, those that the drawings show.
    """

    def __init__(self, results: GrowingResults, skeleton: Skeleton, score_threshold: float) -> None:
        """Makes one.

        Args:
            results: poses.json.
            skeleton: of the poses.
            score_threshold: poses below it are not drawn.
        """
        self.num_drawn = 0
        self._results = results
        self._skeleton = skeleton
        self._score_threshold = score_threshold

    def add(self, image_id: str, poses: Poses, **when: float) -> None:
        """Adds the poses of a picture, or of a frame, whose number and time all entries get."""
        entries = pose_entries(image_id, poses.keypoints, poses.scores)
        self._results.add([entry | when for entry in entries])
        self.num_drawn += sum(entry["score"] >= self._score_threshold for entry in entries)

    def draw(self, pixels: np.ndarray, poses: Poses) -> np.ndarray:
        """The poses over a picture, uint8 [H, W, 3] in RGB; called by several threads at once."""
        return draw_poses(
            pixels,
            poses.keypoints,
            poses.scores,
            self._skeleton,
            score_threshold=self._score_threshold,
        )
