"""What a crowd looks like. Imports nothing heavy: configs are read without JAX."""

from __future__ import annotations

import dataclasses

from pinet_jax.errors import UsageError

MAX_PEOPLE = 30  # people are bits of an int32 in the renderer


@dataclasses.dataclass(frozen=True)
class CrowdConfig:
    """The dials of the synthetic crowds."""

    people: tuple[int, int] = (2, 8)  # fewest and most in an image
    overlap: float = 0.3  # wanted mean box IoU (each person's largest with another), 0 to 0.8
    size: int = 256  # the image's side in pixels, a multiple of 16
    occluders: int = 3  # most things in front of people
    distractors: int = 18  # things behind people

    def __post_init__(self) -> None:
        fewest, most = self.people
        if not 1 <= fewest <= most <= MAX_PEOPLE:
            raise UsageError(
                f"people {fewest} {most}: give the fewest and the most, 1 to {MAX_PEOPLE}"
            )
        if not 0 <= self.overlap <= 0.8:
            raise UsageError(f"overlap {self.overlap}: give a mean box IoU between 0 and 0.8")
        if self.size < 64 or self.size % 16:
            raise UsageError(f"size {self.size}: give a multiple of 16, at least 64")
        if min(self.occluders, self.distractors) < 0:
            raise UsageError("occluders and distractors: give 0 or more")
