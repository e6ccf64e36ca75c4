"""Ground truth of COCO-format files: every record checked, completed, or named by a fault.

Nothing is dropped in silence: a record of a file is either among the `Annotations`, or named by a
`Fault`, or belongs to an image that is named by one, or is counted by `Annotations.notes`.
"""

from __future__ import annotations

import concurrent.futures
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from data_pipelines.annotations.categories import (
    CategoryChoice,
    category_problem,
    choose_category,
)
from data_pipelines.annotations.checked import (
    BOX_AREAS,
    MADE_BOXES,
    OTHER_CATEGORIES,
    TURNED,
    Annotations,
    Fault,
)
from data_pipelines.annotations.json_values import Problem, load_json, shown, whole
from data_pipelines.annotations.left_out import region_of
from data_pipelines.annotations.people import (
    completed,
    is_masked,
    lacks_area,
    person_problems,
    repaired,
)
from data_pipelines.annotations.pictures import PictureCheck, check_picture, image_problems
from data_pipelines.annotations.reading import Reading
from data_pipelines.annotations.regions import region_problem
from pinet_jax.skeletons import Skeleton


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
    reading: Reading = Reading(),
    decode: bool = True,
    annotations_required: bool = True,
    progress: bool = False,
) -> Annotations:
    """Reads the COCO-format files of one split and checks every record.

    Args:
        files: the annotation files; ids must be unique over all of them.
        skeleton: the keypoint set that the people must have.
        image_folder: where the images are; each must be there, and of the size that is stated. None
            checks the annotations alone.
        reading: how to understand them.
        decode: whether every image is also decoded, and regions that are to be masked are checked.
        annotations_required: whether a file of images alone is a fault.
        progress: whether to show a progress bar over the images.

    Returns:
        The sound records and the whole list of faults; nothing is raised for a bad file.
    """
    faults: list[Fault] = []
    required = annotations_required
    contents = [(file, _load(file, skeleton, reading, required, faults)) for file in files]
    images = _unique(_entries(contents, "images", "image"), faults)
    listed = list(_entries(contents, "annotations", "annotation"))
    people = _unique(listed, faults)
    choice = choose_category([content for _, content in contents], skeleton)
    ours = [entry for entry in people if not choice.is_other(entry.content)]
    repairs = [repaired(entry.content) for entry in ours]
    ours = [e._replace(content=person) for e, (person, _) in zip(ours, repairs, strict=True)]

    sound_people = _sound_people(ours, {entry.id for entry in images}, choice, skeleton, faults)
    checks = _check_images(images, image_folder, reading, decode, progress)
    sound_images = _sound_images(images, ours, checks, faults)
    check_regions = image_folder is not None and decode
    kept = _by_image(sound_people, sound_images, choice.id, check_regions, faults)
    notes = {
        MADE_BOXES: sum(made for _, made in repairs),
        BOX_AREAS: sum(lacks_area(entry.content) for entry in sound_people),
        OTHER_CATEGORIES: len(people) - len(ours),
        TURNED: sum(check.turned for check in checks),
    }
    return Annotations(
        skeleton=skeleton,
        image_folder=image_folder,
        images=tuple(sound_images),
        people=kept,
        left_out=_left_out(listed, kept, sound_images, choice, skeleton),
        category=choice.category(skeleton),
        annotated=any("annotations" in content for _, content in contents),
        faults=tuple(faults),
        notes={note: count for note, count in notes.items() if count},
        reading=reading,
    )


def _load(
    file: Path,
    skeleton: Skeleton,
    reading: Reading,
    annotations_required: bool,
    faults: list[Fault],
) -> dict[str, Any]:
    """A file's content; empty, with a fault that says why, where it is no COCO-format object."""
    content, problem = load_json(file)
    problem = problem or _file_problem(content, annotations_required)
    problem = problem or category_problem(content.get("categories", []), skeleton, reading)
    if problem:
        faults.append(Fault(file, "", *problem))
        return {}
    return content


def _file_problem(content: Any, annotations_required: bool) -> Problem | None:
    kind = "not a COCO-format object"
    if not isinstance(content, dict):
        return Problem(kind, f"it is a JSON {type(content).__name__}")
    for field in ("images", "annotations"):
        optional = field == "annotations" and not annotations_required and field not in content
        if not optional and not isinstance(content.get(field), list):
            return Problem(kind, f"it has no list `{field}`")
    categories = content.get("categories", [])
    if not isinstance(categories, list) or not all(isinstance(c, dict) for c in categories):
        return Problem(kind, "its `categories` are no list of objects")
    return None


def _entries(
    contents: Sequence[tuple[Path, dict[str, Any]]], field: str, noun: str
) -> Iterator[_Entry]:
    for file, content in contents:
        for position, record in enumerate(content.get(field, [])):
            number = whole(record.get("id")) if isinstance(record, dict) else None
            name = f"{field}[{position}]" if number is None else f"{noun} {number}"
            yield _Entry(file, name, number, record)


def _unique(entries: Iterable[_Entry], faults: list[Fault]) -> list[_Entry]:
    """The entries that are objects with an id of their own."""
    first: dict[int, _Entry] = {}
    for entry in entries:
        if not isinstance(entry.content, dict):
            faults.append(Fault(entry.file, entry.name, "not an object"))
        elif entry.id is None:
            detail = shown(entry.content.get("id"))
            faults.append(Fault(entry.file, entry.name, "no whole number as id", detail))
        elif entry.id in first:
            detail = f"also in {first[entry.id].file}"
            faults.append(Fault(entry.file, entry.name, "duplicate id", detail))
        else:
            first[entry.id] = entry
    return list(first.values())


def _sound_people(
    entries: Sequence[_Entry],
    image_ids: set[int | None],
    choice: CategoryChoice,
    skeleton: Skeleton,
    faults: list[Fault],
) -> list[_Entry]:
    sound = []
    for entry in entries:
        problems = list(person_problems(entry.content, image_ids, choice.joined, skeleton))
        faults += [Fault(entry.file, entry.name, *problem) for problem in problems]
        if not problems:
            sound.append(entry)
    return sound


def _sound_images(
    entries: Sequence[_Entry],
    people: Sequence[_Entry],
    checks: Sequence[_ImageCheck],
    faults: list[Fault],
) -> list[dict[str, Any]]:
    per_image = Counter(whole(person.content.get("image_id")) for person in people)
    sound = []
    for entry, check in zip(entries, checks, strict=True):
        problems = list(check.problems)
        if problems and per_image[entry.id]:
            kind, detail = problems[0]
            also = f"its {per_image[entry.id]} annotation(s) go with it"
            problems[0] = Problem(kind, f"{detail}; {also}" if detail else also)
        faults += [Fault(entry.file, entry.name, *problem) for problem in problems]
        if not problems:
            numbers = {field: entry.content.get(field) for field in ("id", "width", "height")}
            whole_numbers = {k: int(v) for k, v in numbers.items() if v is not None}
            sound.append(entry.content | whole_numbers)
    return sound


def _by_image(
    people: Sequence[_Entry],
    images: Sequence[dict[str, Any]],
    category_id: int,
    check_regions: bool,
    faults: list[Fault],
) -> dict[int, tuple[dict[str, Any], ...]]:
    """The people of every sound image; the fault of a bad image speaks for its people."""
    groups: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in images}
    image_of = {image["id"]: image for image in images}
    for entry in people:
        person = completed(entry.content, category_id)
        image = image_of.get(person["image_id"])
        if image is None:
            continue
        problem = None
        if check_regions and is_masked(person):
            problem = region_problem(person, image["height"], image["width"])
        if problem:
            faults.append(Fault(entry.file, entry.name, *problem))
        else:
            groups[image["id"]].append(person)
    return {image_id: tuple(group) for image_id, group in groups.items()}


class _ImageCheck(NamedTuple):
    """What was found of an image's record and its picture."""

    problems: tuple[Problem, ...]
    turned: bool  # by EXIF


def _check_images(
    entries: Sequence[_Entry], folder: Path | None, reading: Reading, decode: bool, progress: bool
) -> list[_ImageCheck]:
    """Every entry checked; decoding, which releases the GIL, takes all cores."""

    def check(entry: _Entry) -> _ImageCheck:
        problems = tuple(image_problems(entry.content, has_picture=folder is not None))
        if folder is None or problems:
            return _ImageCheck(problems, False)
        found: PictureCheck = check_picture(folder, entry.content, reading.exif, decode=decode)
        return _ImageCheck((found.problem,) if found.problem else (), found.turned)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(check, entries)
        title = f"checking {entries[0].file.name}" if entries else None
        return list(tqdm(checks, title, len(entries), unit="image", disable=not progress))


def _left_out(
    listed: Sequence[_Entry],
    kept: Mapping[int, Sequence[dict[str, Any]]],
    images: Sequence[dict[str, Any]],
    choice: CategoryChoice,
    skeleton: Skeleton,
) -> dict[int, tuple[dict[str, Any], ...]]:
    """A region for each person of a sound image that is not kept."""
    image_of = {image["id"]: image for image in images if "width" in image and "height" in image}
    waiting = Counter(person["id"] for group in kept.values() for person in group)
    number = max((entry.id for entry in listed if entry.id is not None), default=0)
    regions: dict[int, list[dict[str, Any]]] = {}
    for entry in listed:
        if waiting[entry.id]:
            waiting[entry.id] -= 1  # a second one of the same id was left out
            continue
        if not isinstance(entry.content, dict) or choice.is_other(entry.content):
            continue
        image = image_of.get(whole(entry.content.get("image_id")))
        if image is not None:
            number += 1
            region = region_of(entry.content, number, image, choice.id, skeleton)
            regions.setdefault(image["id"], []).append(region)
    return {image_id: tuple(group) for image_id, group in regions.items()}
