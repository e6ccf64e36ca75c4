"""Annotation and result files in COCO's format, read and checked before any figure is made of them.

A wrong file gives one line that says what is wrong; it never gives a figure.

Legend for shapes: N poses or people, K keypoints.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

Metric = Literal["coco", "crowdpose"]
Dataset = dict[str, Any]  # a COCO-format object: images, annotations, categories

# CrowdPose has no segmentations: its OKS takes this share of the box for the person's area.
CROWDPOSE_AREA = 0.53


def read_annotations(
    source: str | Path | Mapping[str, Any], metric: Metric, skeleton: Skeleton
) -> Dataset:
    """Reads ground truth and brings it into the form that both evaluation tools take.

    Annotations get the ids 1, 2, ... (the tools take a match with id 0 for none). `num_keypoints`
    stays as the file has it, since it decides who is ignored; where it is absent, labelled
    keypoints are counted. For CrowdPose, `area` becomes 0.53 of the box.

    Args:
        source: a file, or an object already read from one.
        metric: whose rules the areas follow.
        skeleton: whose K keypoints every person has.

    Returns:
        images (in the file's order), annotations and the one category; the source is not changed.

    Raises:
        InputError: the file is unreadable or contradicts itself.
    """
    where, content = _load(source, "annotations")
    if not isinstance(content, Mapping) or not {"images", "annotations"} <= content.keys():
        raise InputError(f"{where}: not COCO annotations; it needs `images` and `annotations`")
    images = _records(content["images"], ("id",), f"{where}: images")
    if not images:
        raise InputError(f"{where}: lists no images")
    _refuse_repeated([image["id"] for image in images], f"{where}: image id")
    odd = [image["id"] for image in images if not isinstance(image["id"], int)]
    if odd:
        raise InputError(f"{where}: image id {odd[0]!r} is no whole number{_more(odd)}")

    needed = ("id", "image_id", "keypoints", "bbox", *(("area",) if metric == "coco" else ()))
    people = _records(content["annotations"], needed, f"{where}: annotations")
    _refuse_repeated([person["id"] for person in people], f"{where}: annotation id")
    _refuse_unknown([p["image_id"] for p in people], {i["id"] for i in images}, where, "annotation")

    length = 3 * skeleton.num_keypoints
    keypoints = _numbers(people, "keypoints", where, "annotation", length)
    boxes = _numbers(people, "bbox", where, "annotation", 4)
    for number, (person, points, box) in enumerate(zip(people, keypoints, boxes, strict=True)):
        person["id"] = number + 1
        person.setdefault("iscrowd", 0)
        person.setdefault("category_id", 1)
        person.setdefault("num_keypoints", int((points[2::3] > 0).sum()))
        if metric == "crowdpose":
            person["area"] = float(CROWDPOSE_AREA * box[2] * box[3])
    _numbers([{"area": [person["area"]]} for person in people], "area", where, "annotation", 1)
    return {
        "images": images,
        "annotations": people,
        "categories": [_category(people, content.get("categories") or (), where)],
    }


def read_images(source: str | Path) -> tuple[list[dict[str, Any]], bool]:
    """Reads only the images of a COCO-format file, such as test-dev's, which has no annotations.

    Returns:
        Entries with at least `id`, `file_name`, `height` and `width`, and whether the file has
        annotations too.

    Raises:
        InputError: the file is unreadable or lacks these.
    """
    where, content = _load(source, "images")
    if not isinstance(content, Mapping):
        raise InputError(f"{where}: not a COCO file; it needs `images`")
    needed = ("id", "file_name", "height", "width")
    images = _records(content.get("images"), needed, f"{where}: images")
    _refuse_repeated([image["id"] for image in images], f"{where}: image id")
    return images, "annotations" in content


def read_results(
    source: str | Path | Sequence[Mapping[str, Any]], dataset: Dataset, skeleton: Skeleton
) -> list[dict[str, Any]]:
    """Reads a COCO result file and checks it against its ground truth.

    An `image_id` may also be a file name of the ground truth, as `predict` writes them.

    Args:
        source: a file, or a list already read from one.
        dataset: what `read_annotations` gave.
        skeleton: whose K keypoints every pose has.

    Returns:
        New entries in the file's order, with `image_id`, `category_id`, `keypoints`, `score`.

    Raises:
        InputError: not a list of poses; numbers that are not finite; poses for images or
            categories that the ground truth lacks; another number of keypoints.
    """
    where, content = _load(source, "results")
    poses = _records(content, ("image_id", "keypoints", "score"), f"{where}: results")
    ids = _image_ids([pose["image_id"] for pose in poses], dataset["images"])
    _refuse_unknown(ids, {image["id"] for image in dataset["images"]}, where, "result")
    category = dataset["categories"][0]["id"]
    _refuse_unknown(
        [r.get("category_id", category) for r in poses], {category}, where, "result", "category"
    )
    keypoints = _numbers(poses, "keypoints", where, "result", 3 * skeleton.num_keypoints)
    scores = _numbers([{"score": [r["score"]]} for r in poses], "score", where, "result", 1)
    return [
        {"image_id": i, "category_id": category, "keypoints": list(k), "score": float(s[0])}
        for i, k, s in zip(ids, keypoints.tolist(), scores, strict=True)
    ]


def _load(source: Any, what: str) -> tuple[str, Any]:
    """The name for messages and the content."""
    if not isinstance(source, str | Path):
        return what, source
    try:
        return str(source), json.loads(Path(source).read_bytes())
    except OSError as error:
        raise InputError(f"{source}: cannot be read ({error.strerror})") from error
    except ValueError as error:  # no UTF-8, no JSON
        raise InputError(f"{source}: not valid JSON ({error}); write the file again") from error


def _records(content: Any, fields: Sequence[str], where: str) -> list[dict[str, Any]]:
    """Copies of a list's objects, each of which has the fields."""
    if not isinstance(content, list | tuple):
        raise InputError(f"{where}: must be one JSON list")
    for number, record in enumerate(content):
        if not isinstance(record, Mapping):
            raise InputError(f"{where}[{number}] is not an object")
        missing = [field for field in fields if field not in record]
        if missing:
            raise InputError(f"{where}[{number}] lacks {', '.join(missing)}")
    return [dict(record) for record in content]


def _image_ids(given: Sequence[Any], images: Sequence[Mapping[str, Any]]) -> list[Any]:
    """Replaces file names by ids; a name without its folder only where it is one image's."""
    full = {str(image.get("file_name")): image["id"] for image in images}
    bare = Counter(Path(name).name for name in full)
    names = {Path(n).name: i for n, i in full.items() if bare[Path(n).name] == 1} | full
    return [names.get(i, names.get(Path(i).name, i)) if isinstance(i, str) else i for i in given]


def _refuse_repeated(ids: Sequence[Any], what: str) -> None:
    repeated = [f"{i} occurs {n} times" for i, n in Counter(map(str, ids)).items() if n > 1]
    if repeated:
        raise InputError(f"{what} {repeated[0]}{_more(repeated)}; ids must be unique")


def _refuse_unknown(
    ids: Sequence[Any], known: set[Any], where: str, what: str, kind: str = "image"
) -> None:
    unknown = [(n, i) for n, i in enumerate(ids) if isinstance(i, list | dict) or i not in known]
    if unknown:
        number, name = unknown[0]
        raise InputError(
            f"{where}: {what} {number} is for {kind} {name!r}, which the annotations do not have"
            f"{_more(unknown)}; are these the files of one split?"
        )


def _numbers(
    records: Sequence[Mapping[str, Any]], field: str, where: str, what: str, length: int
) -> np.ndarray:
    """A field's finite numbers, float64 [N, length]."""
    rows = [record[field] for record in records]
    for number, row in enumerate(rows):
        if not isinstance(row, list | tuple | np.ndarray):
            raise InputError(f"{where}: {what} {number}: {field} is not a list")
        if len(row) != length:
            expected = f"{length} ({length // 3} keypoints)" if field == "keypoints" else length
            raise InputError(
                f"{where}: {what} {number} has {len(row)} numbers in {field}, not {expected}; "
                "does the metric or --skeleton fit this file?"
            )
    try:
        table = np.array(rows, dtype=np.float64).reshape(len(rows), length)
    except (TypeError, ValueError) as error:
        raise InputError(f"{where}: {field} holds what is no number ({error})") from error
    bad = np.flatnonzero(~np.isfinite(table).all(axis=1))
    if len(bad):
        raise InputError(
            f"{where}: {what} {bad[0]}: {field} is not finite{_more(bad)}; a NaN has no rank"
        )
    return table


def _category(people: Sequence[dict[str, Any]], categories: Any, where: str) -> dict[str, Any]:
    """The category of all people; the figures of several would be averaged silently."""
    used = {person["category_id"] for person in people}
    listed = {category["id"]: dict(category) for category in categories if "id" in category}
    if len(used) > 1:
        raise InputError(f"{where}: people of categories {sorted(used)}; keep one of them")
    category = used.pop() if used else next(iter(listed), 1)
    return listed.get(category, {"id": category, "name": "person"})


def _more(items: Sequence[Any] | np.ndarray) -> str:
    return f" (and {len(items) - 1} more)" if len(items) > 1 else ""
