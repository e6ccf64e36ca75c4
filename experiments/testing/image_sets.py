"""What a network is tested on: sets of images, with or without ground truth.

Legend for shapes: N images, H and W of one.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from data_pipelines.annotations import Annotations, Reading, read_annotations
from data_pipelines.records import Split, image_pixels, open_split
from experiments.configs.base import ExperimentConfig
from experiments.testing.ground_truth import read_ground_truth
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.dataset import Dataset, Metric
from pinet_jax.images import read_image
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class ImageSet:
    """Images to find poses in.

    Attributes:
        ids: [N].
        shapes: their (H, W).
        read: from a place in the two lists to the image's pixels, uint8 [H, W, 3].
        boxes: their people's, float64 [M, 5] each, for methods that need boxes; see
            `experiments.testing.people_boxes`.
    """

    ids: Sequence[int]
    shapes: Sequence[tuple[int, int]]
    read: Callable[[int], np.ndarray]
    boxes: Sequence[np.ndarray] | None = None

    @classmethod
    def of_split(cls, split: Split) -> ImageSet:
        """Those of a prepared split."""
        shapes = zip(split.index.height.tolist(), split.index.width.tolist(), strict=True)
        return cls(
            split.index.image_id.tolist(), list(shapes), lambda i: image_pixels(split.record(i))
        )

    @classmethod
    def of_folder(
        cls, entries: Sequence[Mapping[str, Any]], folder: Path, *, upright: bool = False
    ) -> ImageSet:
        """Those of COCO image objects (id, file_name, height, width), from their folder.

        Args:
            entries: the objects.
            folder: of their pictures.
            upright: whether they are turned as EXIF says.
        """

        def read(place: int) -> np.ndarray:
            path = folder / entries[place]["file_name"]
            image = read_image(path, ignore_orientation=not upright)
            if image.shape[:2] != shapes[place]:
                height, width = shapes[place]
                raise InputError(
                    f"{path}: {image.shape[1]} x {image.shape[0]} pixels, {width} x {height} in "
                    "the annotations; is this the right folder?"
                )
            return image

        shapes = [(int(entry["height"]), int(entry["width"])) for entry in entries]
        return cls([int(entry["id"]) for entry in entries], shapes, read)

    def chosen(self, places: Sequence[int]) -> ImageSet:
        """The images at some places, in that order."""
        return ImageSet(
            [self.ids[place] for place in places],
            [self.shapes[place] for place in places],
            lambda i: self.read(places[i]),
            None if self.boxes is None else [self.boxes[place] for place in places],
        )


@dataclasses.dataclass(frozen=True)
class EvaluationSet:
    """Images and their ground truth.

    Attributes:
        name: for the reader.
        images: all of them.
        file: the COCO-format file that lists them.
        skeleton: of the people in it.
        annotated: whether it has annotations, and so figures; test-dev's has none.
        reading: how the file is understood.
    """

    name: str
    images: ImageSet
    file: Path
    skeleton: Skeleton
    annotated: bool = True
    reading: Reading = Reading()

    def ground_truth(self, metric: Metric) -> Dataset:
        """The annotations, checked.

        Raises:
            InputError: the file is at fault.
        """
        return read_ground_truth(self.file, metric, self.skeleton, reading=self.reading)


@dataclasses.dataclass(frozen=True)
class SetSource:
    """Where the images to test on are: a prepared split, or a file with its folder.

    Attributes:
        annotations: the ground truth in COCO's format; a list of images alone (test-dev's) gives
            no figures, only the result file.
        images: the folder of its pictures.
        dataset: a prepared dataset's name or folder; by default the experiment's.
        split: of the dataset.
        data_dir: where `prepare` wrote, if not where it does by default.
        reading: how the annotations are to be understood.
    """

    annotations: Path | None = None
    images: Path | None = None
    dataset: Path | None = None
    split: str | None = None
    data_dir: Path | None = None
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading()

    def completed(self, experiment: ExperimentConfig | None) -> SetSource:
        """The same with what the experiment says.

        Raises:
            UsageError: a flag contradicts another one, or nothing is named whole.
        """
        if self.annotations is not None:
            for flag in ("dataset", "split", "data_dir"):
                if getattr(self, flag) is not None:
                    name = flag.replace("_", "-")
                    raise UsageError(f"--{name} does not go with --annotations; leave one out")
            if self.images is None:
                raise UsageError("--annotations needs --images, the folder of its pictures")
            return self
        if self.reading != Reading():
            raise UsageError("--exif and --join-categories go with --annotations; leave them out")
        dataset, split = self.dataset, self.split
        # Rendered crowds and packs take the place of the experiment's dataset.
        if experiment is not None and experiment.synthetic is None and experiment.packed is None:
            dataset = dataset or Path(experiment.data.dataset)
            split = split or experiment.data.eval_split
        if dataset is None or split is None:
            raise UsageError(
                "name what to test on: --dataset and --split as prepared, --config, or "
                "--annotations and --images"
            )
        return dataclasses.replace(self, dataset=dataset, split=split)

    def open(self, skeleton: Skeleton) -> EvaluationSet:
        """The set of a `completed` source.

        Raises:
            InputError: it is not there, is at fault, or has other keypoints.
        """
        if self.annotations is not None:
            assert self.images is not None
            return _open_folder(self.annotations, self.images, skeleton, self.reading)
        assert self.dataset is not None and self.split is not None
        split = open_split(self.dataset, self.split, self.data_dir)
        name = f"{self.dataset} {self.split}"
        return EvaluationSet(name, ImageSet.of_split(split), split.annotations_file, split.skeleton)


def experiments_set(experiment: ExperimentConfig) -> EvaluationSet:
    """The prepared split that an experiment is tested on."""
    return SetSource().completed(experiment).open(experiment.model.skeleton)


def _open_folder(file: Path, folder: Path, skeleton: Skeleton, reading: Reading) -> EvaluationSet:
    # Missing pictures are found here, before the network runs; broken ones only when they are read.
    found: Annotations = read_annotations(
        [file], skeleton, folder, reading=reading, decode=False, annotations_required=False
    )
    found.require_sound()
    images = ImageSet.of_folder(found.images, folder, upright=reading.upright)
    return EvaluationSet(file.stem, images, file, skeleton, found.annotated, reading)
