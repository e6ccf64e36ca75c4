"""A pack: annotated photographs in one small file, which a device's memory holds whole.

A training on a rented accelerator need not bring a dataset, an input pipeline and TensorFlow along:
images are WebP, shrunk to a long side, and labels are padded arrays. `read_pack` decodes all of it.

Legend for shapes: N images, P people of an image (padded), K keypoints, R ignored regions (padded),
L the side of the squares that hold the images.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from data_pipelines.annotations import Reading, read_annotations
from pinet_jax.box_files import ListedImage, read_boxes
from pinet_jax.errors import InputError
from pinet_jax.files import replaced_whole
from pinet_jax.images import read_image
from pinet_jax.skeletons import Skeleton

MAX_PEOPLE, MAX_REGIONS = 16, 32  # most of an image; the largest are kept, what is left is ignored
_LABELS = ("keypoints", "boxes", "ignored")
_STEPS = 10  # labels are stored in tenths of pixels
_UNLABELLED_SCORE = 0.05  # least of a found pose, of which about every second is a person's
_MOST_COVERED = 0.5  # of a found pose's box by the box of an annotated person


class Pack(NamedTuple):
    """Photographs and their labels, in the pixels of the stored images.

    Attributes:
        images: uint8 [N, L, L, 3], each in the upper left corner of its square.
        sizes: float32 [N, 2], height and width.
        keypoints: float32 [N, P, K, 3] (x, y, v); v = 0 is no label.
        boxes: float32 [N, P, 4] (x, y, w, h), of the people with keypoints.
        ignored: float32 [N, R, 4], boxes of people without keypoints, of crowds, and of poses that
            a network found where nobody is annotated.
        ids: int64 [N], of the images in their annotation file.
    """

    images: np.ndarray
    sizes: np.ndarray
    keypoints: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray
    ids: np.ndarray


def write_pack(
    path: Path,
    annotations: Path,
    image_folder: Path,
    skeleton: Skeleton,
    *,
    reading: Reading = Reading(),
    found_poses: Path | None = None,
    long_side: int = 320,
    quality: int = 80,
) -> int:
    """Writes the pack of a COCO-format set, whole or not at all.

    Args:
        path: the file to write, .npz.
        annotations: its annotation file.
        image_folder: where its images are.
        skeleton: the keypoint set of its people.
        reading: how the file is to be understood.
        found_poses: a result file of another network. Where it is sure of a person whom nobody
            annotated, the pack has an ignored region, so that no training takes it for background.
        long_side: pixels; larger images are shrunk to it.
        quality: of WebP, 1 to 100.

    Returns:
        How many images it holds.

    Raises:
        InputError: a record, an image or a pose is at fault, or the file cannot be written.
    """
    found = read_annotations([annotations], skeleton, image_folder, reading=reading, decode=False)
    found.require_sound()
    if not found.images:
        raise InputError(f"{annotations}: lists no images")

    def encode(image: dict[str, Any]) -> tuple[bytes, float]:
        file = image_folder / image["file_name"]
        pixels = read_image(file, ignore_orientation=not reading.upright)
        return _encode(pixels, long_side, quality)

    with ThreadPoolExecutor() as pool:
        encoded = list(pool.map(encode, found.images))
    poses = {} if found_poses is None else _sure_boxes(found_poses, found.images)
    labels = [
        _labels(
            found.people[image["id"]],
            poses.get(image["id"], np.zeros((0, 4))),
            skeleton.num_keypoints,
            factor,
        )
        for image, (_, factor) in zip(found.images, encoded, strict=True)
    ]
    arrays: dict[str, np.ndarray] = {
        name: np.round(np.stack(column) * _STEPS).astype(np.int32)
        for name, column in zip(_LABELS, zip(*labels, strict=True), strict=True)
    }
    blobs = [blob for blob, _ in encoded]
    arrays |= {
        "webp": np.frombuffer(b"".join(blobs), np.uint8),
        "ends": np.cumsum([len(blob) for blob in blobs]),
        "ids": np.array([image["id"] for image in found.images], np.int64),
        "keypoint_names": np.array(skeleton.keypoints),
    }
    with replaced_whole(path) as unfinished, open(unfinished, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)
    return len(blobs)


def _encode(pixels: np.ndarray, long_side: int, quality: int) -> tuple[bytes, float]:
    """WebP of an image, and by what it was shrunk."""
    image = Image.fromarray(pixels)
    factor = min(1.0, long_side / max(image.size))
    if factor < 1:
        size = max(1, round(image.width * factor)), max(1, round(image.height * factor))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=quality, method=5)
    return buffer.getvalue(), factor


def _sure_boxes(found_poses: Path, images: Sequence[dict[str, Any]]) -> dict[int | str, np.ndarray]:
    """Boxes [N, 4] of the poses that a network is sure of, by image."""
    listed = [ListedImage(i["id"], i["file_name"], i["height"], i["width"]) for i in images]
    read = read_boxes(found_poses, listed)
    # Poses outside of their images are a network's ordinary mistakes; of other images are all.
    if read.faults and not read.boxes:
        raise InputError(read.faults[0])
    return {name: boxes[boxes[:, 4] >= _UNLABELLED_SCORE, :4] for name, boxes in read.boxes.items()}


def _uncovered(boxes: np.ndarray, people: Sequence[dict[str, Any]]) -> np.ndarray:
    """Those of the boxes [N, 4] that lie on no annotated person."""
    annotated = np.reshape([person["bbox"] for person in people], (-1, 4))
    start = np.maximum(boxes[:, None, :2], annotated[None, :, :2])
    ends = boxes[:, None, :2] + boxes[:, None, 2:], annotated[None, :, :2] + annotated[None, :, 2:]
    common = np.prod(np.maximum(np.minimum(*ends) - start, 0), axis=-1)  # [N, people]
    area = np.prod(boxes[:, 2:], axis=-1, keepdims=True)
    return boxes[(common <= _MOST_COVERED * area).all(axis=-1)]


def _labels(
    people: Sequence[dict[str, Any]], poses: np.ndarray, num_keypoints: int, factor: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Keypoints, boxes and ignored boxes of one image, padded; the largest people come first."""
    by_size = sorted(people, key=lambda person: -person["bbox"][2] * person["bbox"][3])
    labelled = [p for p in by_size if any(p["keypoints"][2::3]) and not p["iscrowd"]]
    bare = [p for p in by_size if not any(p["keypoints"][2::3]) or p["iscrowd"]]
    keypoints = np.zeros((MAX_PEOPLE, num_keypoints, 3))
    boxes, ignored = np.zeros((MAX_PEOPLE, 4)), np.zeros((MAX_REGIONS, 4))
    for row, person in enumerate(labelled[:MAX_PEOPLE]):
        keypoints[row] = np.reshape(person["keypoints"], (-1, 3))
        boxes[row] = person["bbox"]
    left_out = [person["bbox"] for person in (*labelled[MAX_PEOPLE:], *bare)]
    for row, box in enumerate([*left_out, *_uncovered(poses, people)][:MAX_REGIONS]):
        ignored[row] = box
    keypoints[..., :2] *= factor
    return keypoints, boxes * factor, ignored * factor


def read_pack(path: Path, skeleton: Skeleton) -> Pack:
    """Decodes a pack.

    Raises:
        InputError: it is none, is broken, or holds other keypoints.
    """
    try:
        with open(path, "rb") as handle, np.load(handle, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        names = tuple(arrays["keypoint_names"].tolist())
        blob, ends = arrays["webp"].tobytes(), arrays["ends"].tolist()
        starts = [0, *ends[:-1]]

        def decode(place: int) -> np.ndarray:
            data = io.BytesIO(blob[starts[place] : ends[place]])
            return np.asarray(Image.open(data).convert("RGB"))

        with ThreadPoolExecutor() as pool:
            decoded = list(pool.map(decode, range(len(ends))))
    except FileNotFoundError as error:
        raise InputError(f"{path}: is not there; make it with `pinet-jax pack`") from error
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: is no pack, or broken ({error})") from error
    if names != skeleton.keypoints:
        raise InputError(f"{path}: has the keypoints {', '.join(names)}, not the network's")
    sizes = np.array([image.shape[:2] for image in decoded], np.float32)
    side = int(sizes.max())
    images = np.zeros((len(decoded), side, side, 3), np.uint8)
    for square, image in zip(images, decoded, strict=True):
        square[: image.shape[0], : image.shape[1]] = image
    keypoints, boxes, ignored = ((arrays[name] / _STEPS).astype(np.float32) for name in _LABELS)
    return Pack(images, sizes, keypoints, boxes, ignored, arrays["ids"])
