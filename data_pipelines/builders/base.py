"""What all builders share: checked annotations in, a folder of records out.

A builder's folder holds what `data_pipelines.records` describes. TFDS writes it under a temporary
name and renames it when everything is there, so that a folder with the right name is whole.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from data_pipelines import records
from data_pipelines.annotations import Annotations, is_kept, valid_mask
from data_pipelines.provenance import SOURCE_NAME
from pinet_jax.errors import InputError
from pinet_jax.images import is_plain, read_header, read_image
from pinet_jax.skeletons import Skeleton

RECORDS_PER_SHARD = 1024  # about 170 MB of COCO's images

Example = tuple[int, dict[str, Any]]  # the record's number, its fields


class SplitSource(NamedTuple):
    """Where a split comes from."""

    annotations: tuple[Path, ...]  # read as one
    images: Path


class KeypointBuilder(tfds.core.ShardBasedBuilder, skip_registration=True):  # type: ignore[call-arg]
    """Builds the records of one dataset.

    Class attributes, by which datasets differ:
        skeleton: the keypoint set.
        built_splits: those that the paper's protocol asks for, built by default.
        cuts_out_unlabelled: whether crowd regions and people without keypoints leave the valid
            mask; COCO segments them.
        people_only: splits that leave out images without people, which teach nothing; any other
            split keeps every image, for an evaluation counts what is found on them.
    """

    VERSION = tfds.core.Version("1.0.0")
    url_infos: ClassVar[dict[str, Any]] = {}  # nothing is downloaded, no checksums to look up
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First."}

    skeleton: Skeleton
    source: Mapping[str, Any] | None = None  # of `provenance.source_of`, written beside the records
    built_splits: ClassVar[tuple[str, ...]] = ()
    cuts_out_unlabelled: ClassVar[bool] = False
    people_only: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, *, splits: Mapping[str, Annotations] | None = None, **kwargs: Any) -> None:
        """Makes a builder.

        Args:
            splits: the checked annotations of each split to build; None to read what was built.
            **kwargs: TFDS's own, `data_dir` above all.
        """
        self._splits = dict(splits or {})
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    @staticmethod
    def sources(data_dir: Path) -> dict[str, SplitSource]:
        """Where every split of the dataset's own download is, whether it is there or not."""
        raise NotImplementedError

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"Images with people of {self.skeleton.num_keypoints} keypoints.",
            features=records.features(self.skeleton.num_keypoints),
            disable_shuffling=True,  # record i is image i of the annotations
        )

    def _shard_iterators_per_split(self, _: tfds.download.DownloadManager) -> dict[str, list[Any]]:
        folder = Path(self.data_path)  # still under its temporary name
        _write_json(folder / "skeleton.json", self.skeleton.to_json())
        if self.source is not None:
            _write_json(folder / SOURCE_NAME, self.source)
        splits = {name: self._written(name) for name in self._splits}
        for name, split in splits.items():
            _write_beside(folder, name, split)
        bar = tqdm(
            desc="writing records",
            total=sum(len(split.images) for split in splits.values()),
            unit="image",
        )
        return {name: self._shards(split, bar) for name, split in splits.items()}

    def _written(self, split: str) -> Annotations:
        """What is written of a split."""
        annotations = self._splits[split]
        if split in self.people_only:
            annotations = annotations.with_people()
        if not annotations.images:
            raise InputError(f"split {split}: no sound image is left to build it from")
        return annotations

    def _shards(self, annotations: Annotations, bar: tqdm) -> list[Callable[[], Iterator[Example]]]:
        """A generator of examples for each shard, in order."""

        def examples(start: int) -> Iterator[Example]:
            images = annotations.images[start : start + RECORDS_PER_SHARD]
            for number, image in enumerate(images, start):
                yield number, self._example(image, annotations)
                bar.update()
            if bar.n == bar.total:
                bar.close()

        return [partial(examples, s) for s in range(0, len(annotations.images), RECORDS_PER_SHARD)]

    def _example(self, image: dict[str, Any], annotations: Annotations) -> dict[str, Any]:
        """A `records.Record`, but with the image's path where TFDS can read it itself."""
        everybody = annotations.people[image["id"]]
        people = list(filter(is_kept, everybody))
        boxes = np.array([p["bbox"] for p in people], np.float32).reshape(-1, 4)
        keypoints = np.array([p["keypoints"] for p in people], np.float32)
        # Whom `--skip-bad` left out is never background.
        cut_out = (
            everybody if self.cuts_out_unlabelled else [p for p in everybody if "left_out" in p]
        )
        mask = valid_mask(image, cut_out) if cut_out else np.ones(1)
        assert annotations.image_folder is not None
        path = annotations.image_folder / image["file_name"]
        return {
            "image": _stored_picture(path, upright=annotations.reading.upright),
            "image_id": image["id"],
            "file_name": image["file_name"],
            "height": image["height"],
            "width": image["width"],
            "valid_mask": records.encode_mask(mask),
            "keypoints": keypoints.reshape(-1, self.skeleton.num_keypoints, 3),
            "boxes": boxes,
            "area": boxes[:, 2] * boxes[:, 3],
            "annotation_id": np.array([p["id"] for p in people], np.int64),
            "crowd_index": float(image.get("crowdIndex", -1)),
        }


def _stored_picture(path: Path, *, upright: bool) -> str | io.BytesIO:
    """What a record's decoder takes for the picture's pixels: the file, or else a PNG of them.

    The decoder knows 8-bit JPEG and PNG, and turns nothing.
    """
    turned = upright and read_header(path).orientation != 1
    if not turned and is_plain(path.read_bytes()):
        return str(path)
    pixels = read_image(path, ignore_orientation=not upright)
    return io.BytesIO(cv2.imencode(".png", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR))[1].tobytes())


def _write_beside(folder: Path, split: str, annotations: Annotations) -> None:
    """The files beside a split's shards; the list of what was left out, where anything was."""
    _write_json(folder / records.annotations_name(split), annotations.to_coco())
    kept = [
        [p for p in annotations.people[image["id"]] if is_kept(p)] for image in annotations.images
    ]
    records.Index(
        image_id=_integers(image["id"] for image in annotations.images),
        height=_integers(image["height"] for image in annotations.images),
        width=_integers(image["width"] for image in annotations.images),
        people=_integers(len(people) for people in kept),
        labelled_keypoints=_integers(
            sum(v > 0 for p in people for v in p["keypoints"][2::3]) for people in kept
        ),
    ).save(folder / records.index_name(split))
    if annotations.faults:
        lines = [f"{fault}\n" for fault in annotations.faults]
        (folder / records.left_out_name(split)).write_text("".join(lines), "utf-8")


def _integers(values: Iterable[int]) -> np.ndarray:
    return np.fromiter(values, np.int64)


def _write_json(file: Path, content: Any) -> None:
    file.write_text(json.dumps(content))
