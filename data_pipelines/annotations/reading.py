"""How annotation files are to be understood where they do not say so themselves."""

from __future__ import annotations

import dataclasses
from typing import Literal

Exif = Literal["stored", "upright"]


@dataclasses.dataclass(frozen=True)
class Reading:
    """What only the user knows.

    Attributes:
        exif: which pixels the labels of pictures with an EXIF orientation are in: stored, as COCO
            has them, or upright, as most labelling tools show pictures. It must be given where
            there are such pictures.
        join_categories: take all categories that list the skeleton's keypoints for one, as of
            animals.
    """

    exif: Exif | None = None
    join_categories: bool = False

    @property
    def upright(self) -> bool:
        """Whether pictures are turned as EXIF says."""
        return self.exif == "upright"
