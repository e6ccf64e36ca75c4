"""COCO-format keypoint annotations, read and checked. No TensorFlow.

Nothing is dropped in silence: a record of a file is either among the `Annotations`, or named by a
`Fault`, or belongs to an image that is named by one.

Legend for shapes: P people of an image, K keypoints, H and W the image's size.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from pycocotools import mask as coco_masks
from tqdm import tqdm

from pinet_jax.skeletons import Skeleton

INT64 = range(-(2**63), 2**63)

Problem = tuple[str, str]  # what is wrong, in words that do not vary; the details


@dataclasses.dataclass(frozen=True)
class Fault:
    """One thing wrong with one record.

    Attributes:
        file: the annotation file.
        record: "image 7", "annotation 12", or "annotations[3]" where a record has no usable id;
            empty where the whole file is at fault.
        kind: what is wrong, one of a few fixed wordings.
        detail: the offending value.
    """

    file: Path
    record: str
    kind: str
    detail: str = ""

    def __str__(self) -> str:
        where = f"{self.file}: {self.record}" if self.record else f"{self.file}"
        return f"{where}: {self.kind}" + (f" ({self.detail})" if self.detail else "")


@dataclasses.dataclass(frozen=True)
class Annotations:
    """The sound records of one split, and the faults of all others.

    Attributes:
        skeleton: the keypoint set of every person.
        image_folder: what the images' file names are relative to; None: the images were not asked
            for.
        images: COCO image objects in the files' order, with int `id`, `width` and `height`.
        people: image id -> its COCO annotation objects in the files' order; an entry an image.
            `iscrowd`, `num_keypoints` (as the file counts them), `area` and `category_id` (1) are
            always there.
        faults: everything that was left out, and why.
    """

    skeleton: Skeleton
    image_folder: Path | None
    images: tuple[dict[str, Any], ...]
    people: dict[int, tuple[dict[str, Any], ...]]
    faults: tuple[Fault, ...]

    @property
    def unreadable(self) -> tuple[Fault, ...]:
        """Faults of whole files: leaving records out does not mend them."""
        return tuple(fault for fault in self.faults if not fault.record)

    def with_people(self) -> Annotations:
        """The images that have an annotation, and no others."""
        annotated = tuple(image for image in self.images if self.people[image["id"]])
        people = {image["id"]: self.people[image["id"]] for image in annotated}
        return dataclasses.replace(self, images=annotated, people=people)

    def to_coco(self) -> dict[str, Any]:
        """The sound records as one COCO-format object."""
        category = {
            "id": 1,
            "name": "person",
            "supercategory": "person",
            "keypoints": list(self.skeleton.keypoints),
            "skeleton": [[a + 1, b + 1] for a, b in self.skeleton.edges],
        }
        people = [person for image in self.images for person in self.people[image["id"]]]
        return {"images": list(self.images), "annotations": people, "categories": [category]}


class _Entry(NamedTuple):
    """One record of a file, with what its faults are to be called."""

    file: Path
    name: str
    id: int | None
    content: Any


def read_annotations(
    files: Sequence[Path],
    skeleton: Skeleton,
    image_folder: Path | None = None,
    *,
    progress: bool = False,
) -> Annotations:
    """Reads the COCO-format files of one split and checks every record.

    Args:
        files: the annotation files; ids must be unique over all of them.
        skeleton: the keypoint set that the people must have.
        image_folder: where the images are; every one is opened and decoded. None checks the
            annotations alone.
        progress: whether to show a progress bar over the images.

    Returns:
        The sound records and the whole list of faults; nothing is raised for a bad file.
    """
    faults: list[Fault] = []
    contents = [(file, _load(file, skeleton, faults)) for file in files]
    images = _unique(_entries(contents, "images", "image"), faults)
    people = _unique(_entries(contents, "annotations", "annotation"), faults)

    sound_people = _sound_people(people, {entry.id for entry in images}, skeleton, faults)
    sound_images = _sound_images(images, people, image_folder, progress, faults)
    return Annotations(
        skeleton=skeleton,
        image_folder=image_folder,
        images=tuple(sound_images),
        people=_by_image(sound_people, sound_images, faults),
        faults=tuple(faults),
    )


def is_kept(person: dict[str, Any]) -> bool:
    """Whether a person has targets: no crowd region, or one with keypoints."""
    return not person["iscrowd"] or person["num_keypoints"] > 0


def is_cut_out(person: dict[str, Any]) -> bool:
    """Whether a person's region teaches nothing: a crowd, or nobody labelled its keypoints."""
    return bool(person["iscrowd"]) or person["num_keypoints"] == 0


def valid_mask(image: dict[str, Any], people: Sequence[dict[str, Any]]) -> np.ndarray:
    """Where labels count.

    Args:
        image: a sound image object.
        people: its sound people.

    Returns:
        uint8 [H, W]: 1, but 0 on crowd regions and on people without labelled keypoints, by their
        segmentation; by their box where they have none.
    """
    height, width = image["height"], image["width"]
    mask = np.ones((height, width), np.uint8)
    for person in filter(is_cut_out, people):
        mask[_region(person, height, width) > 0] = 0
    return mask


def _load(file: Path, skeleton: Skeleton, faults: list[Fault]) -> dict[str, Any]:
    """A file's content; empty, with a fault that says why, where it is no COCO-format object."""
    try:
        content = json.loads(file.read_bytes())
    except OSError as error:
        faults.append(Fault(file, "", "not readable", error.strerror or str(error)))
        return {}
    except (ValueError, RecursionError) as error:
        faults.append(Fault(file, "", "broken JSON", str(error)))
        return {}
    problem = _file_problem(content, skeleton)
    if problem:
        faults.append(Fault(file, "", *problem))
        return {}
    return content


def _file_problem(content: Any, skeleton: Skeleton) -> Problem | None:
    if not isinstance(content, dict):
        return "not a COCO-format object", f"it is a JSON {type(content).__name__}"
    for field in ("images", "annotations"):
        if not isinstance(content.get(field), list):
            return "not a COCO-format object", f"it has no list `{field}`"
    categories = content.get("categories", [])
    if not isinstance(categories, list) or not all(isinstance(c, dict) for c in categories):
        return "not a COCO-format object", "its `categories` are no list of objects"
    named = [c["keypoints"] for c in categories if "keypoints" in c]
    if len(named) > 1:
        return "several categories with keypoints", "keep the one that the skeleton describes"
    if named and named[0] != list(skeleton.keypoints):
        return (
            "other keypoints than the skeleton's",
            f"its category does not list those of {skeleton.name}, in their order",
        )
    return None


def _entries(
    contents: Sequence[tuple[Path, dict[str, Any]]], field: str, noun: str
) -> Iterator[_Entry]:
    for file, content in contents:
        for position, record in enumerate(content.get(field, [])):
            number = _whole(record.get("id")) if isinstance(record, dict) else None
            name = f"{field}[{position}]" if number is None else f"{noun} {number}"
            yield _Entry(file, name, number, record)


def _unique(entries: Iterator[_Entry], faults: list[Fault]) -> list[_Entry]:
    """The entries that are objects with an id of their own."""
    first: dict[int, _Entry] = {}
    for entry in entries:
        if not isinstance(entry.content, dict):
            faults.append(Fault(entry.file, entry.name, "not an object"))
        elif entry.id is None:
            detail = _shown(entry.content.get("id"))
            faults.append(Fault(entry.file, entry.name, "no whole number as id", detail))
        elif entry.id in first:
            detail = f"also in {first[entry.id].file}"
            faults.append(Fault(entry.file, entry.name, "duplicate id", detail))
        else:
            first[entry.id] = entry
    return list(first.values())


def _sound_people(
    entries: Sequence[_Entry], image_ids: set[int | None], skeleton: Skeleton, faults: list[Fault]
) -> list[_Entry]:
    sound = []
    for entry in entries:
        problems = list(_person_problems(entry.content, image_ids, skeleton))
        faults += [Fault(entry.file, entry.name, *problem) for problem in problems]
        if not problems:
            sound.append(entry._replace(content=_completed(entry.content)))
    return sound


def _sound_images(
    entries: Sequence[_Entry],
    people: Sequence[_Entry],
    folder: Path | None,
    progress: bool,
    faults: list[Fault],
) -> list[dict[str, Any]]:
    per_image = Counter(_whole(person.content.get("image_id")) for person in people)
    sound = []
    for entry, problems in _checked_images(entries, folder, progress):
        if problems and per_image[entry.id]:
            kind, detail = problems[0]
            also = f"its {per_image[entry.id]} annotation(s) go with it"
            problems[0] = (kind, f"{detail}; {also}" if detail else also)
        faults += [Fault(entry.file, entry.name, *problem) for problem in problems]
        if not problems:
            sound.append(_with_whole_numbers(entry.content, ("id", "width", "height")))
    return sound


def _by_image(
    people: Sequence[_Entry], images: Sequence[dict[str, Any]], faults: list[Fault]
) -> dict[int, tuple[dict[str, Any], ...]]:
    """The people of every sound image; the fault of a bad image speaks for its people."""
    groups: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    sizes = {image["id"]: (image["height"], image["width"]) for image in images}
    for entry in people:
        person, image_id = entry.content, entry.content["image_id"]
        if image_id not in groups:
            continue
        problem = _region_problem(person, *sizes[image_id]) if is_cut_out(person) else None
        if problem:
            faults.append(Fault(entry.file, entry.name, *problem))
        else:
            groups[image_id].append(person)
    return {image_id: tuple(group) for image_id, group in groups.items()}


def _person_problems(
    person: dict[str, Any], image_ids: set[int | None], skeleton: Skeleton
) -> Iterator[Problem]:
    image_id = _whole(person.get("image_id"))
    if image_id is None or image_id not in image_ids:
        yield "annotation without image", f"image_id {_shown(person.get('image_id'))}"
    yield from _keypoint_problems(person.get("keypoints"), skeleton.num_keypoints)
    yield from _box_problems(person.get("bbox"))
    if person.get("iscrowd", 0) not in (0, 1):
        yield "iscrowd is neither 0 nor 1", _shown(person["iscrowd"])
    count = _whole(person.get("num_keypoints", 0))
    if count is None or count < 0:
        yield "num_keypoints is no count", _shown(person["num_keypoints"])
    area = _numbers([person.get("area", 0)])
    if area is None or not np.isfinite(area).all() or area[0] < 0:
        yield "area is no finite, positive number", _shown(person["area"])


def _keypoint_problems(value: Any, num_keypoints: int) -> Iterator[Problem]:
    numbers = _numbers(value)
    if numbers is None:
        yield "keypoints are no list of numbers", _shown(value)
        return
    if len(numbers) != 3 * num_keypoints:
        wanted = f"{len(numbers)} numbers, {num_keypoints} x 3 wanted"
        yield "wrong number of keypoints", wanted
        return
    points = numbers.reshape(num_keypoints, 3)
    if not np.isfinite(points[:, :2]).all():
        bad = np.flatnonzero(~np.isfinite(points[:, :2]).all(axis=1))[0]
        yield "NaN or infinite coordinates", f"keypoint {bad}: {_shown(points[bad].tolist())}"
    outside = ~np.isin(points[:, 2], (0, 1, 2))
    if outside.any():
        bad = np.flatnonzero(outside)[0]
        yield "v outside 0..2", f"keypoint {bad}: v = {points[bad, 2]:g}"


def _box_problems(value: Any) -> Iterator[Problem]:
    box = _numbers(value)
    if box is None or len(box) != 4:
        yield "bbox is no list of four numbers", _shown(value)
    elif not np.isfinite(box).all():
        yield "NaN or infinite box", _shown(value)
    elif (box[2:] <= 0).any() or not 0 < np.float32(box[2]) * np.float32(box[3]) < np.inf:
        yield "empty or negative box", _shown(value)


def _checked_images(
    entries: Sequence[_Entry], folder: Path | None, progress: bool
) -> Iterator[tuple[_Entry, list[Problem]]]:
    """Each entry with its problems; decoding, which releases the GIL, takes all cores."""

    def check(entry: _Entry) -> list[Problem]:
        problems = list(_image_problems(entry.content))
        if folder is not None and not problems:
            problems = list(_picture_problems(folder, entry.content))
        return problems

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(check, entries)
        title = f"checking {entries[0].file.name}" if entries else None
        bar = tqdm(checks, title, len(entries), unit="image", disable=not progress)
        yield from zip(entries, bar, strict=True)


def _image_problems(image: dict[str, Any]) -> Iterator[Problem]:
    name = image.get("file_name")
    if not isinstance(name, str) or not _is_file_name(name):
        yield "no usable file_name", _shown(name)
    elif _leaves_folder(name):
        yield "path leaves the image folder", _shown(name)
    for field in ("width", "height"):
        pixels = _whole(image.get(field))
        if pixels is None or pixels <= 0:
            yield f"{field} is no positive whole number", _shown(image.get(field))
    if "crowdIndex" in image:
        index = _numbers([image["crowdIndex"]])
        if index is None or not np.isfinite(index).all():
            yield "crowdIndex is no finite number", _shown(image["crowdIndex"])


def _is_file_name(name: str) -> bool:
    if not name or "\0" in name:
        return False
    try:
        name.encode()
    except UnicodeEncodeError:  # half a surrogate pair
        return False
    return True


def _leaves_folder(name: str) -> bool:
    """Whether a file name could lead elsewhere, read the Unix or the Windows way."""
    paths = (PurePosixPath(name), PureWindowsPath(name))
    return any(path.is_absolute() or path.drive or ".." in path.parts for path in paths)


def _picture_problems(folder: Path, image: dict[str, Any]) -> Iterator[Problem]:
    path = folder / image["file_name"]
    if not path.is_file():
        yield "missing image", str(path)
        return
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as picture:
            if picture.size != (image["width"], image["height"]):
                stated = f"{image['width']} x {image['height']}"
                there = f"{picture.width} x {picture.height}"
                yield "image size differs from the file", f"{stated} stated, {there} in {path}"
            picture.draft("RGB", (1, 1))  # all of a JPEG is read, an eighth of its size computed
            picture.load()
    except Exception as error:  # Pillow's decoders raise nearly everything on broken files
        yield "broken image", f"{path}: {error}".replace("\n", " ")


def _region_problem(person: dict[str, Any], height: int, width: int) -> Problem | None:
    """What keeps a segmentation from being rasterised; pycocotools would not notice."""
    shape = person.get("segmentation")
    if not shape:
        return None
    if isinstance(shape, list):
        polygons = [_numbers(polygon) for polygon in shape]
        far = 10 * max(height, width)  # an outline is sampled point by point
        if any(p is None or len(p) < 6 or len(p) % 2 or not (abs(p) < far).all() for p in polygons):
            return (
                "broken segmentation",
                "a polygon has six numbers or more, in pairs, near the image",
            )
        return None
    if not isinstance(shape, dict):
        return "broken segmentation", "neither polygons nor an RLE"
    size = shape.get("size")
    if size != [height, width] or not all(type(side) is int for side in size):
        return "broken segmentation", f"an RLE of size {_shown(size)}, not {[height, width]}"
    runs = _run_lengths(shape.get("counts"))
    if runs is None or min(runs, default=-1) < 0 or sum(runs) != height * width:
        return "broken segmentation", f"its runs do not fill {height} x {width} pixels"
    return None


def _run_lengths(counts: Any) -> list[int] | None:
    """The runs of an RLE, plain or in COCO's compressed string; None where it is neither."""
    if isinstance(counts, list):
        return counts if all(type(run) is int for run in counts) else None
    if not isinstance(counts, str) or not all(48 <= ord(char) < 112 for char in counts):
        return None
    runs: list[int] = []
    value = shift = 0
    for char in counts:  # five bits each, the lowest first; a sixth says that more follow
        bits = ord(char) - 48
        value |= (bits & 0x1F) << shift
        shift += 5
        if not bits & 0x20:
            signed = value - (1 << shift) if bits & 0x10 else value
            runs.append(signed + runs[-2] if len(runs) > 2 else signed)
            value = shift = 0
    return None if shift else runs


def _region(person: dict[str, Any], height: int, width: int) -> np.ndarray:
    """A person's pixels, uint8 0/1 [H, W]."""
    shape = person.get("segmentation")
    if not shape:
        x, y, w, h = person["bbox"]
        shape = [[x, y, x + w, y, x + w, y + h, x, y + h]]
    if isinstance(shape, list):
        rle = coco_masks.merge(coco_masks.frPyObjects(shape, height, width))
    elif isinstance(shape["counts"], list):
        rle = coco_masks.frPyObjects(shape, height, width)
    else:
        rle = shape
    return coco_masks.decode(rle)


def _completed(person: dict[str, Any]) -> dict[str, Any]:
    """The person with every field that COCO's tools ask for."""
    labelled = sum(v > 0 for v in person["keypoints"][2::3])
    defaults = {
        "iscrowd": 0,
        "num_keypoints": labelled,
        "area": person["bbox"][2] * person["bbox"][3],
    }
    whole = _with_whole_numbers(defaults | person, ("id", "image_id", "num_keypoints", "iscrowd"))
    return whole | {"category_id": 1}


def _with_whole_numbers(record: dict[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    return record | {field: int(record[field]) for field in fields}


def _whole(value: Any) -> int | None:
    """A JSON number as an int64; None where it is none."""
    if type(value) is float and value.is_integer():
        value = int(value)
    return value if type(value) is int and value in INT64 else None


def _numbers(value: Any) -> np.ndarray | None:
    """A JSON list of numbers, float64; those beyond float32 are infinite. None: it is none."""
    if not isinstance(value, list) or not all(type(v) in (int, float) for v in value):
        return None
    try:
        numbers = np.array(value, np.float64)
    except OverflowError:  # whole numbers of 309 digits and more
        numbers = np.array([v if abs(v) < 2**128 else math.inf for v in value], np.float64)
    return np.where(abs(numbers) > np.finfo(np.float32).max, np.inf, numbers)


def _shown(value: Any) -> str:
    """A value in a message, on one line and not too long."""
    text = "missing" if value is None else ascii(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
