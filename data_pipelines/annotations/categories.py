"""Which of a file's categories are the people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.annotations.json_values import whole
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class CategoryChoice:
    """The category of people.

    Attributes:
        id: its own.
        name: its name in the file.
        others: the ids of the file's other categories, which are no people.
    """

    id: int
    name: str
    others: frozenset[int]

    def is_other(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation belongs to a category that is no people."""
        return whole(annotation.get("category_id")) in self.others

    def category(self, skeleton: Skeleton) -> dict[str, Any]:
        """A COCO category object."""
        return {
            "id": self.id,
            "name": self.name,
            "supercategory": "person",
            "keypoints": list(skeleton.keypoints),
            "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
        }


def choose_category(contents: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> CategoryChoice:
    """The category whose keypoints are the skeleton's.

    Where no category lists keypoints, it is the only one that is listed or used; an annotation of
    another one is then a fault of its own.

    Args:
        contents: COCO-format objects, the files of one split; their categories are checked.
        skeleton: the keypoint set.
    """
    listed = {
        number: category
        for content in contents
        for category in content.get("categories", [])
        if (number := whole(category.get("id"))) is not None
    }
    with_keypoints = [
        n for n, c in listed.items() if c.get("keypoints") == list(skeleton.keypoints)
    ]
    if with_keypoints:
        chosen = with_keypoints[0]
        others = frozenset(listed) - frozenset(with_keypoints)
    else:
        chosen = next(iter(listed)) if len(listed) == 1 else _first_used(contents)
        others = frozenset()
    return CategoryChoice(chosen, str(listed.get(chosen, {}).get("name", "person")), others)


def _first_used(contents: Sequence[Mapping[str, Any]]) -> int:
    """The category of the first annotation that says one; COCO's 1 where none does."""
    for content in contents:
        for annotation in content.get("annotations", []):
            used = whole(annotation.get("category_id")) if isinstance(annotation, dict) else None
            if used is not None:
                return used
    return 1
