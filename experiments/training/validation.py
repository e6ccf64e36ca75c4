"""Tests of a network while it trains: poses of the whole test set, their figures, some pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import jax
import numpy as np

from data_pipelines.annotations import check_results
from experiments.configs.base import ExperimentConfig
from experiments.testing.image_sets import EvaluationSet
from experiments.testing.people_boxes import with_boxes
from experiments.testing.split_prediction import predict_split
from pinet_jax.errors import InputError
from pinet_jax.evaluation.dataset import metric_of
from pinet_jax.evaluation.result_files import PartialResults
from pinet_jax.evaluation.summary import evaluate
from pinet_jax.inference import Predictor
from pinet_jax.networks.initializers import Variables
from pinet_jax.visualization import draw_poses


class Validation:
    """A test set and the programs for it, compiled once for a whole training."""

    def __init__(self, config: ExperimentConfig, tested: EvaluationSet, workdir: Path) -> None:
        """Reads the annotations.

        Args:
            config: the experiment.
            tested: the test set.
            workdir: the training's folder; pictures go into it.
        """
        self._config, self._workdir = config, workdir
        self._tested = with_boxes(tested, config.model)
        skeleton = config.model.skeleton
        self._metric = metric_of(skeleton)
        self._dataset = tested.ground_truth(self._metric)
        self._predictor: Predictor | None = None

    def run(
        self, step: int, variables: Variables, check: Callable[[], None]
    ) -> dict[str, float | None]:
        """Tests a network.

        Args:
            step: the network's; names its pictures.
            variables: of the network.
            check: called before every image; what it raises ends the test.

        Returns:
            AP and the other figures, fractions.
        """
        config = self._config
        variables = jax.device_get(variables)
        if self._predictor is None:
            self._predictor = Predictor(config.model, variables, config.inference)
        else:
            self._predictor.use(variables)

        def read(place: int) -> np.ndarray:
            check()
            return self._tested.images.read(place)

        images = dataclasses.replace(self._tested.images, read=read)
        file = self._workdir / "evaluation.partial.jsonl"
        file.unlink(missing_ok=True)  # of an earlier network
        with PartialResults(file, {"step": step}) as partial:
            predict_split(
                images,
                self._predictor,
                partial,
                batch_size=config.loop.batch_size,
                category_id=self._dataset["categories"][0]["id"],
            )
            results = partial.results(images.ids)
        file.unlink()
        self._draw(step, results)
        checked = check_results(results, self._dataset, config.model.skeleton)
        return evaluate(self._dataset, checked, self._metric, config.model.skeleton).metrics

    def _draw(self, step: int, results: Sequence[dict[str, Any]]) -> None:
        """Draws the poses of images from all over the test set."""
        images, skeleton = self._tested.images, self._config.model.skeleton
        count = min(self._config.loop.pictures, len(images.ids))
        folder = self._workdir / "pictures" / f"step_{step:07d}"
        folder.mkdir(parents=True, exist_ok=True)
        for place in np.linspace(0, len(images.ids) - 1, count).round().astype(int).tolist():
            found = [entry for entry in results if entry["image_id"] == images.ids[place]]
            poses = np.array([entry["keypoints"] for entry in found], np.float32)
            poses = poses.reshape(-1, skeleton.num_keypoints, 3)
            scores = np.array([entry["score"] for entry in found], np.float32)
            picture = draw_poses(images.read(place), poses, scores, skeleton)
            path = folder / f"{images.ids[place]}.jpg"
            if not cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)):
                raise InputError(f"{path}: cannot be written")
