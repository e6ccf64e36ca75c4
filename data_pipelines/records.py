"""Prepared records: what one holds, how it is stored, and random access to it. No TensorFlow.

`pinet-jax prepare` leaves one folder a dataset, `<data_dir>/<dataset>/<version>`, in TFDS's layout
(ArrayRecord shards of `tf.train.Example`s, so that any TFDS reader opens it too) with these files
beside the shards:

    skeleton.json              the keypoint set (`Skeleton.to_json`)
    annotations_<split>.json   the checked COCO-format annotations; evaluation reads them
    index_<split>.npz          a row a record, for filtering and grouping without reading any image
    left_out_<split>.txt       the faults of what was left out, if anything was

Record i belongs to row i of the index and to `images[i]` of the annotations.

Legend for shapes: N records, P people of an image, K keypoints, H and W the image's size.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

import cv2
import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

if TYPE_CHECKING:
    import tensorflow_datasets as tfds


class Record(TypedDict):
    """One image and its people; coordinates are image pixels."""

    image: bytes  # the original JPEG or PNG; of other files, and turned ones, a PNG of the pixels
    image_id: int
    file_name: str  # relative to the dataset's image folder
    height: int
    width: int
    valid_mask: bytes  # 1-bit PNG [H, W], white where labels count; empty: the whole image
    keypoints: np.ndarray  # float32 [P, K, 3]: x, y, v
    boxes: np.ndarray  # float32 [P, 4]: x, y, width, height
    area: np.ndarray  # float32 [P]: box width x height
    annotation_id: np.ndarray  # int64 [P]
    crowd_index: float  # CrowdPose's; -1 where unknown


@dataclasses.dataclass(frozen=True)
class Index:
    """What a split's records are like, a row each; every field is int64 [N]."""

    image_id: np.ndarray
    height: np.ndarray
    width: np.ndarray
    people: np.ndarray
    labelled_keypoints: np.ndarray  # with v > 0, all people together

    def save(self, path: Path) -> None:
        """Writes the index as npz."""
        np.savez(path, **dataclasses.asdict(self))

    @classmethod
    def load(cls, path: Path) -> Index:
        """Reads what `save` wrote."""
        with np.load(path, allow_pickle=False) as file:
            return cls(**{field.name: file[field.name] for field in dataclasses.fields(cls)})


class Split:
    """One split of a prepared dataset: a sequence of records, safe to read from many threads.

    Attributes:
        folder: the dataset's folder, `<data_dir>/<dataset>/<version>`.
        name: the split's.
        skeleton: its keypoint set.
        annotations_file: the split's checked COCO-format annotations.
    """

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = Path(folder)
        self.name = name
        self.skeleton = Skeleton.from_json(self.folder / "skeleton.json")
        self.annotations_file = self.folder / annotations_name(name)
        self._source = _array_records(self.folder, name)

    @functools.cached_property
    def index(self) -> Index:
        """The split's index."""
        return Index.load(self.folder / index_name(self.name))

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> Record:
        return self.record(index)

    def record(self, index: int) -> Record:
        """Record number `index`, 0 <= index < len.

        Raises:
            IndexError: there is no such record.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder}: split {self.name} has no record {index}")
        return decode(self._source[index], self.skeleton.num_keypoints)


def open_split(dataset: str | Path, split: str, data_dir: Path | None = None) -> Split:
    """Opens a prepared split.

    Args:
        dataset: a prepared dataset's name ("coco_keypoints"), or a folder that holds one.
        split: "train", "val", ...
        data_dir: where `prepare` wrote; by default TFDS's own place (`default_data_dir`).

    Raises:
        InputError: nothing has been prepared there, or it lacks the split.
    """
    return Split(dataset_folder(dataset, data_dir), split)


def dataset_folder(dataset: str | Path, data_dir: Path | None = None) -> Path:
    """The folder of a prepared dataset's newest version.

    Raises:
        InputError: nothing has been prepared there.
    """
    parents = [Path(dataset)] if data_dir is None else []
    parents.append((data_dir or default_data_dir()) / dataset)
    for parent in parents:
        for folder in (parent, *sorted(parent.glob("[0-9]*.[0-9]*.[0-9]*"), reverse=True)):
            if (folder / "skeleton.json").is_file() and (folder / "dataset_info.json").is_file():
                return folder
    raise InputError(
        f"{parents[-1]}: holds no prepared dataset; run `pinet-jax prepare` for it first"
    )


def default_data_dir() -> Path:
    """TFDS's own place for datasets: $TFDS_DATA_DIR, else ~/tensorflow_datasets."""
    return Path(os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets")).expanduser()


def annotations_name(split: str) -> str:
    """The name of a split's annotation file."""
    return f"annotations_{split}.json"


def index_name(split: str) -> str:
    """The name of a split's index file."""
    return f"index_{split}.npz"


def left_out_name(split: str) -> str:
    """The name of the list of a split's records that were at fault and left out."""
    return f"left_out_{split}.txt"


def features(num_keypoints: int) -> tfds.features.FeaturesDict:
    """How TFDS stores a `Record`; `decode` is its inverse."""
    import tensorflow_datasets as tfds

    def array(dtype: type, *shape: int | None) -> tfds.features.Tensor:
        return tfds.features.Tensor(shape=shape, dtype=dtype)

    return tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(doc="the original file's bytes"),
            "image_id": array(np.int64),
            "file_name": tfds.features.Text(),
            "height": array(np.int64),
            "width": array(np.int64),
            "valid_mask": tfds.features.Text(doc="1-bit PNG mask; empty: the whole image"),
            "keypoints": array(np.float32, None, num_keypoints, 3),
            "boxes": array(np.float32, None, 4),
            "area": array(np.float32, None),
            "annotation_id": array(np.int64, None),
            "crowd_index": array(np.float32),
        }
    )


def decode(serialized: bytes, num_keypoints: int) -> Record:
    """A stored `tf.train.Example` -> a record."""
    from tensorflow_datasets.proto import tf_example_pb2

    stored = tf_example_pb2.Example.FromString(serialized).features.feature

    def floats(name: str, *shape: int) -> np.ndarray:
        return np.array(stored[name].float_list.value, np.float32).reshape(shape)

    def integer(name: str) -> int:
        return stored[name].int64_list.value[0]

    return Record(
        image=stored["image"].bytes_list.value[0],
        image_id=integer("image_id"),
        file_name=stored["file_name"].bytes_list.value[0].decode(),
        height=integer("height"),
        width=integer("width"),
        valid_mask=stored["valid_mask"].bytes_list.value[0],
        keypoints=floats("keypoints", -1, num_keypoints, 3),
        boxes=floats("boxes", -1, 4),
        area=floats("area", -1),
        annotation_id=np.array(stored["annotation_id"].int64_list.value, np.int64),
        crowd_index=stored["crowd_index"].float_list.value[0],
    )


def image_pixels(record: Record) -> np.ndarray:
    """The record's image, uint8 [H, W, 3], RGB, in whose pixels its labels are.

    EXIF orientation is ignored: `prepare` has turned what was to be turned.

    Raises:
        InputError: the image does not decode.
    """
    flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(record["image"], np.uint8), flags)
    if pixels is None:
        raise InputError(f"{record['file_name']}: its record's image is broken; prepare it again")
    return pixels


def valid_pixels(record: Record) -> np.ndarray:
    """The record's valid mask, uint8 [H, W]: 1 where labels count, 0 on unlabelled people."""
    if not record["valid_mask"]:
        return np.ones((record["height"], record["width"]), np.uint8)
    mask = cv2.imdecode(np.frombuffer(record["valid_mask"], np.uint8), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise InputError(f"{record['file_name']}: its record's mask is broken; prepare it again")
    return (mask > 0).astype(np.uint8)


def encode_mask(mask: np.ndarray) -> bytes:
    """A uint8 0/1 mask [H, W] -> the record's `valid_mask`."""
    if mask.all():
        return b""
    # With 8 bits a pixel, decoding the mask would take half as long as decoding the image.
    return cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])[1].tobytes()


def _array_records(folder: Path, split: str) -> Any:
    import tensorflow_datasets as tfds
    from array_record.python.array_record_data_source import ArrayRecordDataSource

    info = tfds.builder_from_directory(folder).info
    if split not in info.splits:
        has = ", ".join(info.splits) or "none"
        raise InputError(f"{folder}: no split {split!r}; it has {has}")
    files = info.splits[split].file_instructions
    lost = [file.filename for file in files if not Path(file.filename).is_file()]
    if lost:
        raise InputError(f"{lost[0]}: this shard is gone; prepare the dataset again")
    return ArrayRecordDataSource(files)
