"""Files of people's boxes: annotations, a detector's results, or another system's poses.

All are COCO's formats. A box that cannot be used is named and left out; the others are done.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pinet_jax.boxes import usable_box
from pinet_jax.errors import InputError

_TIGHT_MARGIN = 1.2  # of keypoints' extent: with the margin of boxes, that of half-body crops


class ListedImage(NamedTuple):
    """An image that boxes may belong to.

    Attributes:
        id: of the image set; a file's boxes may also go by its name.
        name: of its file.
        height: pixels.
        width: pixels.
    """

    id: int | str
    name: str
    height: int
    width: int


class BoxFile(NamedTuple):
    """What `read_boxes` found.

    Attributes:
        boxes: image id -> float64 [N, 5], x, y, width, height (image pixels) and score, in the
            file's order; images without any are not there.
        faults: a line for every box that is left out.
    """

    boxes: dict[int | str, np.ndarray]
    faults: tuple[str, ...]


class _Candidate(NamedTuple):
    """One record: what it is called, its image as the file has it, its box if it is one."""

    name: str
    image_id: Any
    xywh: np.ndarray | None
    score: float


def read_boxes(source: Path, images: Sequence[ListedImage]) -> BoxFile:
    """Reads people's boxes.

    Args:
        source: a COCO-format annotation file, whose persons with labelled keypoints are taken as
            the released code takes them (score 1, see `boxes.clean_box`); a detector's result file
            (`image_id`, `category_id` 1, `bbox`, `score`); or a file of poses without `bbox`, whose
            keypoints' extents are taken, a little enlarged.
        images: those that boxes are wanted for.

    Raises:
        InputError: the file is none of these.
    """
    return find_boxes(_load(source), images, str(source))


def find_boxes(content: Any, images: Sequence[ListedImage], where: str) -> BoxFile:
    """The boxes in what a file holds; see `read_boxes`.

    Args:
        content: a COCO-format object, or a list of results.
        images: those that boxes are wanted for.
        where: what faults call it.
    """
    annotated = isinstance(content, Mapping)
    candidates = _annotated(content) if annotated else _detected(content)
    listed = _by_key(images, content["images"] if annotated else ())
    boxes: dict[int | str, list[np.ndarray]] = {}
    faults = []
    for candidate in candidates:
        key = candidate.image_id
        image = listed.get(key) if isinstance(key, int | str) else None
        problem = _problem(candidate, image)
        if problem:
            faults.append(f"{where}: {candidate.name}: {problem}; left out")
            continue
        assert image is not None and candidate.xywh is not None
        xywh = _cleaned(candidate.xywh, image) if annotated else candidate.xywh
        boxes.setdefault(image.id, []).append(np.append(xywh, candidate.score))
    return BoxFile({i: np.stack(group) for i, group in boxes.items()}, tuple(faults))


def _load(source: Path) -> Any:
    try:
        content = json.loads(Path(source).read_bytes())
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # no UTF-8, no JSON
        raise InputError(f"{source}: not valid JSON ({error}); write the file again") from error
    records = content.get("annotations") if isinstance(content, Mapping) else content
    images = content.get("images", []) if isinstance(content, Mapping) else []
    if not all(_are_objects(part) for part in (records, images)):
        raise InputError(
            f"{source}: no boxes; give COCO annotations or a list of results with `bbox` or "
            "`keypoints`"
        )
    return content


def _are_objects(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(record, Mapping) for record in value)


def _annotated(content: Mapping[str, Any]) -> Iterator[_Candidate]:
    """The persons of an annotation file that are evaluated: labelled, and no crowds."""
    for place, record in enumerate(content["annotations"]):
        points = _numbers(record.get("keypoints"), 3)
        if record.get("iscrowd") or points is None or not (points > 0).any():
            continue
        name = f"annotation {record['id']}" if "id" in record else f"annotations[{place}]"
        yield _Candidate(name, record.get("image_id"), _numbers(record.get("bbox"), 4), 1.0)


def _detected(records: Sequence[Mapping[str, Any]]) -> Iterator[_Candidate]:
    """The persons of a result file; of poses that have no box, their extents."""
    for place, record in enumerate(records):
        if record.get("category_id", 1) != 1:
            continue
        if "bbox" in record:
            xywh = _numbers(record["bbox"], 4)
        else:
            xywh = _extent(_numbers(record.get("keypoints"), 3))
        score = _numbers([record.get("score", 1.0)], 1)
        xywh = None if score is None else xywh
        value = 0.0 if score is None else float(score[0])
        yield _Candidate(f"result {place}", record.get("image_id"), xywh, value)


def _extent(keypoints: np.ndarray | None) -> np.ndarray | None:
    """The box of the keypoints that have a score."""
    if keypoints is None:
        return None
    points = keypoints.reshape(-1, 3)
    points = points[points[:, 2] > 0, :2]
    if not len(points):
        return np.zeros(4)
    low, high = points.min(axis=0), points.max(axis=0)
    size = _TIGHT_MARGIN * (high - low)
    return np.concatenate([(low + high - size) / 2, size])


def _numbers(value: Any, multiple: int) -> np.ndarray | None:
    """A list of finite numbers, as many as a multiple of this (of 4 and 1, just as many)."""
    if not isinstance(value, list) or not all(type(v) in (int, float) for v in value):
        return None
    numbers = np.array(value, np.float64)
    fits = len(value) % 3 == 0 if multiple == 3 else len(value) == multiple
    return numbers if fits and len(value) and np.isfinite(numbers).all() else None


def _by_key(
    images: Sequence[ListedImage], entries: Sequence[Mapping[str, Any]]
) -> dict[Any, ListedImage]:
    """Images by all that a file may call them: id, name, the number in a name, the file's own."""
    keys: dict[Any, ListedImage] = {}
    for image in images:
        stem = Path(image.name).stem
        if stem.isdecimal():
            keys.setdefault(int(stem), image)
    keys |= {Path(image.name).name: image for image in images}
    keys |= {image.name: image for image in images}
    keys |= {image.id: image for image in images}
    ids = {image.id for image in images}
    for entry in entries:
        own = keys.get(entry.get("file_name"))
        if own is not None and entry.get("id") not in ids:
            keys[entry.get("id")] = own
    return keys


def _problem(candidate: _Candidate, image: ListedImage | None) -> str:
    """Why a box cannot be used; empty if it can."""
    if image is None:
        return f"its image {candidate.image_id!r} is not among the images"
    if candidate.xywh is None:
        return "its box or score is no list of finite numbers"
    x, y, width, height = candidate.xywh
    if width <= 0 or height <= 0:
        return "its box has no area"
    if x >= image.width or y >= image.height or x + width <= 0 or y + height <= 0:
        return f"its box lies outside of its image of {image.width} x {image.height} pixels"
    return ""


def _cleaned(xywh: np.ndarray, image: ListedImage) -> np.ndarray:
    """An annotated box that lies in its image, as the released code takes it."""
    clean = usable_box(xywh, image.height, image.width)
    # The released code takes a pixel from the size: of a box of one pixel, nothing would be left.
    return xywh if clean is None else clean
