"""What reading annotation files gives: the sound records, and what was wrong with all others."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.annotations.reading import Reading
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

MADE_BOXES = "people without a box, or with a flat one: it is made from their keypoints"
BOX_AREAS = "people without an area, or with 0: that of their box stands in"
OTHER_CATEGORIES = "annotations of other categories: left out"
TURNED = "pictures with an EXIF orientation"


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
        left_out: image id -> a crowd region for each person whose record is at fault; see
            `with_left_out`.
        category: the COCO category of all people.
        annotated: whether the files list annotations at all; test-dev's lists only images.
        faults: everything that was left out, and why.
        notes: how often a rule stood in for the file: `MADE_BOXES`, `BOX_AREAS`,
            `OTHER_CATEGORIES`, `TURNED`.
        reading: how the files were understood.
    """

    skeleton: Skeleton
    image_folder: Path | None
    images: tuple[dict[str, Any], ...]
    people: dict[int, tuple[dict[str, Any], ...]]
    left_out: dict[int, tuple[dict[str, Any], ...]]
    category: dict[str, Any]
    annotated: bool
    faults: tuple[Fault, ...]
    notes: Mapping[str, int]
    reading: Reading

    @property
    def unreadable(self) -> tuple[Fault, ...]:
        """Faults of whole files: leaving records out does not mend them."""
        return tuple(fault for fault in self.faults if not fault.record)

    def require_sound(self) -> None:
        """Raises InputError with the first fault and the number of all others, if there is one."""
        if self.faults:
            others = len(self.faults) - 1
            raise InputError(f"{self.faults[0]}" + f" (and {others} more)" * bool(others))
        self.require_exif()

    def require_exif(self) -> None:
        """Raises InputError where EXIF turns pictures and nobody said what their labels follow."""
        turned = self.notes.get(TURNED, 0)
        if turned and self.reading.exif is None:
            raise InputError(
                f"{self.image_folder}: {turned} of {len(self.images)} pictures have an EXIF "
                "orientation; say which pixels the labels are in: --exif upright (CVAT, Label "
                "Studio, RectLabel, most tools) or --exif stored (COCO's own)"
            )

    def with_left_out(self) -> Annotations:
        """With a crowd region for each person whose record is at fault: nobody is background."""
        people = {i: (*group, *self.left_out.get(i, ())) for i, group in self.people.items()}
        return dataclasses.replace(self, people=people, left_out={})

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
