"""Pictures in, named poses out: what `pinet_jax.load()` gives.

The level below is `inference.Predictor`: arrays in, arrays out.

Legend for shapes: H rows, W columns of a picture, N poses, K keypoints, M boxes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple, overload

import jax
import numpy as np
from PIL import Image

from pinet_jax.checkpoints import load_model
from pinet_jax.config_json import from_json, to_json
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.result_files import Entry, pose_entries
from pinet_jax.frames import check_proportions
from pinet_jax.image_batches import make_batches, predict_batches
from pinet_jax.image_folders import distinct_names
from pinet_jax.images import header_of, image_size, pixels_of, read_image
from pinet_jax.inference import Predictor, default_batch_size
from pinet_jax.methods.base import InferenceConfig
from pinet_jax.pixel_arrays import rgb_pixels
from pinet_jax.poses import Poses
from pinet_jax.pretrained import PHOTOGRAPHS
from pinet_jax.skeletons import Skeleton
from pinet_jax.visualization import draw_poses

Picture = str | PathLike | Image.Image | np.ndarray | jax.Array


class Point(NamedTuple):
    """A keypoint in pixels of its picture; the centre of the first pixel is at (0, 0)."""

    x: float
    y: float
    score: float


@dataclasses.dataclass(frozen=True, repr=False, eq=False)
class PicturePoses:
    """The poses of one picture, best first.

    Attributes:
        source: the picture, as it was given.
        name: of its file, or its path where two of the pictures share a name; its place among the
            pictures where it came without a file.
        skeleton: names the keypoints.
        stages: the poses by stage, in the order in which they come to be; the last is "final", and
            has those alone whose score is high enough.
    """

    source: Picture
    name: str
    skeleton: Skeleton
    stages: Mapping[str, Poses]

    @property
    def keypoints(self) -> np.ndarray:
        """float32 [N, K, 3]: x, y and score."""
        return self.stages["final"].keypoints

    @property
    def scores(self) -> np.ndarray:
        """float32 [N], of whole poses."""
        return self.stages["final"].scores

    @property
    def people(self) -> list[dict[str, Point]]:
        """Every pose as its keypoints by name."""
        return [
            {
                name: Point(*values)
                for name, values in zip(self.skeleton.keypoints, pose, strict=True)
            }
            for pose in self.keypoints.tolist()
        ]

    def draw(self) -> Image.Image:
        """The picture with its poses."""
        pixels = _pixels(self.source, self.name)
        drawn = draw_poses(
            pixels, self.keypoints, self.scores, self.skeleton, score_threshold=-np.inf
        )
        return Image.fromarray(drawn)

    def to_coco(self, image_id: int | str | None = None) -> list[Entry]:
        """The poses in COCO's result format, ready for `json.dumps`.

        Args:
            image_id: of the annotations; `name` if None.
        """
        own = self.name if image_id is None else image_id
        if isinstance(own, np.generic):
            own = own.item()  # JSON knows no numbers of NumPy
        return pose_entries(own, self.keypoints, self.scores)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        return f"<PicturePoses {self.name}: {len(self)} poses of {self.skeleton.name}>"


class PicturePredictor:
    """Finds everybody in pictures of any kind and size.

    Attributes:
        predictor: the level below.
    """

    def __init__(self, predictor: Predictor, batch_size: int | None = None) -> None:
        """Makes one.

        Args:
            predictor: the network and its test procedure.
            batch_size: frames of one size that go through the device at a time, at most.
        """
        self.predictor = predictor
        self._batch_size = batch_size or default_batch_size(predictor.devices)

    @property
    def skeleton(self) -> Skeleton:
        """The keypoints."""
        return self.predictor.skeleton

    @overload
    def __call__(  # type: ignore[overload-overlap]  # a str is also a Sequence of them
        self,
        pictures: Picture,
        boxes: np.ndarray | None = None,
        *,
        score_threshold: float | None = ...,
    ) -> PicturePoses: ...

    @overload
    def __call__(
        self,
        pictures: Sequence[Picture],
        boxes: Sequence[np.ndarray] | None = None,
        *,
        score_threshold: float | None = ...,
    ) -> list[PicturePoses]: ...

    def __call__(
        self,
        pictures: Picture | Sequence[Picture],
        boxes: np.ndarray | Sequence[np.ndarray] | None = None,
        *,
        score_threshold: float | None = 0.1,
    ) -> PicturePoses | list[PicturePoses]:
        """The poses of a picture, or of each of many, which need not share a size.

        Args:
            pictures: paths, Pillow's pictures, and arrays uint8 [H, W, 3] in RGB; one, or many.
            boxes: float [M, 5], x, y, width, height and score in pixels, which top-down methods
                need; for many pictures, one array each.
            score_threshold: poses with a lower score are left out. Most networks make many, which
                metrics of average precision want: None keeps them all.

        Raises:
            InputError: a file is no picture, an array has another shape or dtype, or boxes are
                missing, or given to a network that needs none.
        """
        if isinstance(pictures, Picture) or not isinstance(pictures, Iterable):
            own = None if boxes is None else [np.asarray(boxes)]
            (only,) = self._predict([pictures], own, score_threshold)
            return only
        own = None if boxes is None else list(boxes)
        return self._predict(list(pictures), own, score_threshold)

    def _predict(
        self,
        pictures: Sequence[Picture],
        boxes: Sequence[np.ndarray] | None,
        score_threshold: float | None,
    ) -> list[PicturePoses]:
        if boxes is not None and not self.predictor.method.needs_boxes:
            raise UsageError("boxes: this network finds people by itself; call it without them")
        if boxes is not None and len(boxes) != len(pictures):
            raise UsageError(f"boxes of {len(boxes)} pictures, and {len(pictures)} pictures")
        names = _names(pictures)
        sources = [_checked(*named) for named in zip(pictures, names, strict=True)]

        def read(place: int) -> np.ndarray:
            return _pixels(sources[place], names[place])

        shapes, places = list(map(_shape, sources, names)), range(len(sources))
        batches = make_batches(self.predictor, shapes, places, self._batch_size, boxes)
        found: dict[int, Mapping[str, Poses]] = {}
        for batch in predict_batches(self.predictor, batches, read, boxes):
            found |= batch.poses
        return [
            PicturePoses(picture, names[place], self.skeleton, _sure(found[place], score_threshold))
            for place, picture in enumerate(pictures)
        ]


def load_predictor(
    checkpoint: str | PathLike | None, inference: Mapping[str, Any]
) -> PicturePredictor:
    """As `pinet_jax.load`."""
    if not isinstance(checkpoint, str | PathLike | None):
        raise UsageError(f"checkpoint: a path is wanted, not {checkpoint!r:.60}")
    model = load_model(PHOTOGRAPHS if checkpoint is None else checkpoint)
    procedure = _replaced(model.inference, inference)
    return PicturePredictor(Predictor(model.method, model.variables, procedure))


def _replaced(inference: InferenceConfig, fields: Mapping[str, Any]) -> InferenceConfig:
    known = [field.name for field in dataclasses.fields(inference)]
    for name in fields:
        if name not in known:
            raise UsageError(f"{name}: the test procedure has no such field: {', '.join(known)}")
    asked = {name: to_json(value) for name, value in fields.items()}
    return from_json(type(inference), to_json(inference) | asked, "the test procedure")


def _names(pictures: Sequence[Picture]) -> list[str]:
    """As poses.json of `predict` has them."""
    files = {n: x for n, x in enumerate(pictures) if isinstance(x, str | PathLike)}
    names = dict(zip(files, distinct_names(list(files.values())), strict=True))
    return [names.get(place, f"picture {place}") for place in range(len(pictures))]


def _sure(stages: Mapping[str, Poses], score_threshold: float | None) -> Mapping[str, Poses]:
    """The stages, of whose last those poses are left whose score is high enough."""
    if score_threshold is None:
        return stages
    final = stages["final"]
    kept = final.scores >= score_threshold
    return {**stages, "final": Poses(final.keypoints[kept], final.scores[kept])}


def _checked(picture: Picture, name: str) -> Picture:
    """The picture, an array as RGB; InputError where it is neither."""
    if isinstance(picture, str | PathLike | Image.Image):
        return picture
    try:
        return rgb_pixels(picture)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _shape(picture: Picture, name: str) -> tuple[int, int]:
    """(H, W) of the upright picture; nothing is decoded."""
    if isinstance(picture, str | PathLike):
        shape = image_size(Path(picture))
    elif isinstance(picture, Image.Image):
        shape = header_of(picture).upright
    else:
        shape = picture.shape[0], picture.shape[1]
    check_proportions(shape, name)
    return shape


def _pixels(picture: Picture, name: str) -> np.ndarray:
    """uint8 [H, W, 3], RGB, upright."""
    if isinstance(picture, str | PathLike):
        return read_image(Path(picture))
    if isinstance(picture, Image.Image):
        return pixels_of(picture, name)
    return rgb_pixels(picture)
