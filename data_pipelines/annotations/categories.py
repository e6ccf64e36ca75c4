"""Which of a file's categories are the people."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from data_pipelines.annotations.json_values import Problem, whole
from data_pipelines.annotations.reading import Reading
from pinet_jax.skeletons import Skeleton


@dataclasses.dataclass(frozen=True)
class CategoryChoice:
    """The category of people.

    Attributes:
        id: its own.
        name: its name in the file.
        others: the ids of the file's other categories, which are no people.
        joined: the ids of all categories of people.
    """

    id: int
    name: str
    others: frozenset[int]
    joined: frozenset[int]

    def is_other(self, annotation: Mapping[str, Any]) -> bool:
        """Whether an annotation belongs to a category that is no people."""
        return whole(annotation.get("category_id")) in self.others

    def category(self, skeleton: Skeleton) -> dict[str, Any]:
        """A COCO category object; where it is several, `joined` has their ids."""
        joined = {"joined": sorted(self.joined)} if len(self.joined) > 1 else {}
        return {
            "id": self.id,
            "name": self.name,
            "supercategory": "person",
            "keypoints": list(skeleton.keypoints),
            "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
            **joined,
        }


def category_problem(
    categories: Sequence[Mapping[str, Any]], skeleton: Skeleton, reading: Reading
) -> Problem | None:
    """What keeps a file's people from being told by its categories."""
    ours = [category for category in categories if _has_keypoints_of(category, skeleton)]
    if len(ours) > 1 and not reading.join_categories:
        names = ", ".join(str(category.get("name", category.get("id"))) for category in ours)
        return Problem(
            "several categories with the skeleton's keypoints",
            f"{names:.80}; keep one, or take them for one with --join-categories",
        )
    if not ours and any(category.get("keypoints") for category in categories):
        return Problem(
            "other keypoints than the skeleton's",
            f"its category does not list those of {skeleton.name}, in their order",
        )
    return None


def _has_keypoints_of(category: Mapping[str, Any], skeleton: Skeleton) -> bool:
    return category.get("keypoints") == list(skeleton.keypoints)


def choose_category(contents: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> CategoryChoice:
    """The category whose keypoints are the skeleton's; its first, where several are joined.

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
    with_keypoints = [n for n, c in listed.items() if _has_keypoints_of(c, skeleton)]
    if with_keypoints:
        chosen = with_keypoints[0]
        joined = frozenset(with_keypoints)
        others = frozenset(listed) - joined
    else:
        chosen = next(iter(listed)) if len(listed) == 1 else _first_used(contents)
        joined, others = frozenset({chosen}), frozenset()
    name = str(listed.get(chosen, {}).get("name", "person"))
    return CategoryChoice(chosen, name, others, joined)


def _first_used(contents: Sequence[Mapping[str, Any]]) -> int:
    """The category of the first annotation that says one; COCO's 1 where none does."""
    for content in contents:
        for annotation in content.get("annotations", []):
            used = whole(annotation.get("category_id")) if isinstance(annotation, dict) else None
            if used is not None:
                return used
    return 1
