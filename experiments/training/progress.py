"""How far a training has come, in images: the batch size may change between its runs."""

from __future__ import annotations

import math
from typing import NamedTuple


class Progress(NamedTuple):
    """Steps, and what they mean in batches of today's size.

    Attributes:
        batch_size: images of a step, of all devices and processes.
        images_per_epoch: of the data.
        shift: steps taken beyond those that today's batches would need for the images seen; below 0
            where they were larger before.
    """

    batch_size: int
    images_per_epoch: int
    shift: int = 0

    @classmethod
    def resumed(
        cls, batch_size: int, images_per_epoch: int, step: int, images_seen: int
    ) -> Progress:
        """After a step of an earlier run, whose batches may have been of another size.

        A batch that is begun is taken again: no image is passed over.
        """
        return cls(batch_size, images_per_epoch, step - images_seen // batch_size)

    @property
    def steps_per_epoch(self) -> float:
        """Of batches of today's size."""
        return self.images_per_epoch / self.batch_size

    def batches(self, step: int) -> int:
        """How many batches of today's size have been seen after a step: the number of the next."""
        return step - self.shift

    def images(self, step: int) -> int:
        """How many images have been seen after a step."""
        return self.batches(step) * self.batch_size

    def epoch(self, step: int) -> float:
        """How often all images have been seen after a step."""
        return self.batches(step) * self.batch_size / self.images_per_epoch

    def last_step(self, epochs: float) -> int:
        """The first step after which so many epochs are full."""
        return math.ceil(epochs * self.images_per_epoch / self.batch_size) + self.shift
