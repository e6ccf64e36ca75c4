"""Ground truth of COCO-format files: every record checked, completed, or named by a fault.

Nothing is dropped in silence: a record of a file is either among the `Annotations`, or named by a
`Fault`, or belongs to an image that is named by one, or is counted by `Annotations.notes`.
"""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from data_pipelines.annotations.categories import CategoryChoice, choose_category
from data_pipelines.annotations.json_values import Problem, load_json, shown, whole
from data_pipelines.annotations.people import (
    completed,
    is_masked,
    lacks_area,
    person_problems,
    repaired,
)
from data_pipelines.annotations.pictures import image_problems, picture_problems
from data_pipelines.annotations.regions import region_problem
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

MADE_BOXES = "people without a box, or with a flat one: it is made from their keypoints"
BOX_AREAS = "people without an area, or with 0: that of their box stands in"
OTHER_CATEGORIES = "annotations of other categories: left out"


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
        image_folder: what the images' file names are relative to; None: pictures were not asked
            for.
        images: COCO image objects in the files' order, with int `id`; where pictures were asked
            for, also with `file_name`, `width` and `height`.
        people: image id -> its COCO annotation objects in the files' order; an entry an image.
            `iscrowd`, `num_keypoints` (as the file counts them), `area` and `category_id` are
            always there.
        category: the COCO category of all people.
        annotated: whether the files list annotations at all; test-dev's lists only images.
        faults: everything that was left out, and why.
        notes: how often a rule stood in for the file: `MADE_BOXES`, `BOX_AREAS`,
            `OTHER_CATEGORIES`.
    """

    skeleton: Skeleton
    image_folder: Path | None
    images: tuple[dict[str, Any], ...]
    people: dict[int, tuple[dict[str, Any], ...]]
    category: dict[str, Any]
    annotated: bool
    faults: tuple[Fault, ...]
    notes: Mapping[str, int]

    @property
    def unreadable(self) -> tuple[Fault, ...]:
        """Faults of whole files: leaving records out does not mend them."""
        return tuple(fault for fault in self.faults if not fault.record)

    def require_sound(self) -> None:
        """Raises InputError with the first fault and the number of all others, if there is one."""
        if self.faults:
            others = len(self.faults) - 1
            raise InputError(f"{self.faults[0]}" + f" (and {others} more)" * bool(others))

    def with_people(self) -> Annotations:
        """The images that have an annotation, and no others."""
        annotated = tuple(image for image in self.images if self.people[image["id"]])
        people = {image["id"]: self.people[image["id"]] for image in annotated}
        return dataclasses.replace(self, images=annotated, people=people)

    def to_coco(self) -> dict[str, Any]:
        """The sound records as one COCO-format object."""
        people = [person for image in self.images for person in self.people[image["id"]]]
        return {
            "images": list(self.images),
            "annotations": people,
            "categories": [self.category],
        }


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
    decode: bool = True,
    annotations_required: bool = True,
    progress: bool = False,
) -> Annotations:
    """Reads the COCO-format files of one split and checks every record.

    Args:
        files: the annotation files; ids must be unique over all of them.
        skeleton: the keypoint set that the people must have.
        image_folder: where the images are; each must be there. None checks the annotations alone.
        decode: whether every image is also decoded, and regions that are to be masked are checked.
        annotations_required: whether a file of images alone is a fault.
        progress: whether to show a progress bar over the images.

    Returns:
        The sound records and the whole list of faults; nothing is raised for a bad file.
    """
    faults: list[Fault] = []
    contents = [(file, _load(file, skeleton, annotations_required, faults)) for file in files]
    images = _unique(_entries(contents, "images", "image"), faults)
    people = _unique(_entries(contents, "annotations", "annotation"), faults)
    choice = choose_category([content for _, content in contents], skeleton)
    ours = [entry for entry in people if not choice.is_other(entry.content)]
    repairs = [repaired(entry.content) for entry in ours]
    ours = [e._replace(content=person) for e, (person, _) in zip(ours, repairs, strict=True)]

    sound_people = _sound_people(ours, {entry.id for entry in images}, choice, skeleton, faults)
    notes = {
        MADE_BOXES: sum(made for _, made in repairs),
        BOX_AREAS: sum(lacks_area(entry.content) for entry in sound_people),
        OTHER_CATEGORIES: len(people) - len(ours),
    }
    sound_images = _sound_images(images, ours, image_folder, decode, progress, faults)
    check_regions = image_folder is not None and decode
    return Annotations(
        skeleton=skeleton,
        image_folder=image_folder,
        images=tuple(sound_images),
        people=_by_image(sound_people, sound_images, choice.id, check_regions, faults),
        category=choice.category(skeleton),
        annotated=any("annotations" in content for _, content in contents),
        faults=tuple(faults),
        notes={note: count for note, count in notes.items() if count},
    )


def _load(
    file: Path, skeleton: Skeleton, annotations_required: bool, faults: list[Fault]
) -> dict[str, Any]:
    """A file's content; empty, with a fault that says why, where it is no COCO-format object."""
    content, problem = load_json(file)
    problem = problem or _file_problem(content, skeleton, annotations_required)
    if problem:
        faults.append(Fault(file, "", *problem))
        return {}
    return content


def _file_problem(content: Any, skeleton: Skeleton, annotations_required: bool) -> Problem | None:
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
    named = [c["keypoints"] for c in categories if c.get("keypoints")]
    if len(named) > 1:
        return Problem(
            "several categories with keypoints", "keep the one that the skeleton describes"
        )
    if named and named[0] != list(skeleton.keypoints):
        return Problem(
            "other keypoints than the skeleton's",
            f"its category does not list those of {skeleton.name}, in their order",
        )
    return None


def _entries(
    contents: Sequence[tuple[Path, dict[str, Any]]], field: str, noun: str
) -> Iterator[_Entry]:
    for file, content in contents:
        for position, record in enumerate(content.get(field, [])):
            number = whole(record.get("id")) if isinstance(record, dict) else None
            name = f"{field}[{position}]" if number is None else f"{noun} {number}"
            yield _Entry(file, name, number, record)


def _unique(entries: Iterator[_Entry], faults: list[Fault]) -> list[_Entry]:
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
        problems = list(person_problems(entry.content, image_ids, choice.id, skeleton))
        faults += [Fault(entry.file, entry.name, *problem) for problem in problems]
        if not problems:
            sound.append(entry)
    return sound


def _sound_images(
    entries: Sequence[_Entry],
    people: Sequence[_Entry],
    folder: Path | None,
    decode: bool,
    progress: bool,
    faults: list[Fault],
) -> list[dict[str, Any]]:
    per_image = Counter(whole(person.content.get("image_id")) for person in people)
    sound = []
    for entry, problems in _checked_images(entries, folder, decode, progress):
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


def _checked_images(
    entries: Sequence[_Entry], folder: Path | None, decode: bool, progress: bool
) -> Iterator[tuple[_Entry, list[Problem]]]:
    """Each entry with its problems; decoding, which releases the GIL, takes all cores."""

    def check(entry: _Entry) -> list[Problem]:
        problems = list(image_problems(entry.content, has_picture=folder is not None))
        if folder is not None and not problems:
            problems = list(picture_problems(folder, entry.content, decode=decode))
        return problems

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        checks = pool.map(check, entries)
        title = f"checking {entries[0].file.name}" if entries else None
        bar = tqdm(checks, title, len(entries), unit="image", disable=not progress)
        yield from zip(entries, bar, strict=True)
