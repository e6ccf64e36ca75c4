"""Several sets mixed sample by sample: samples for `input_pipeline.batches`, made of samples."""

from __future__ import annotations

from collections.abc import Sequence

from data_pipelines.input_pipeline import Batch, Samples, SetSamples
from data_pipelines.sampling import Turns


class Mixture:
    """Samples of several sets, as often as their weights say.

    Each set is gone through in epochs of its own, as if it were trained on alone.
    """

    def __init__(
        self, first: SetSamples, others: Sequence[Samples], weights: Sequence[float], seed: int
    ) -> None:
        """Mixes sets, with rows of the same shapes.

        Args:
            first: one epoch of the mixture is one of this.
            others: the rest.
            weights: how often a sample is of each, in this order, of any sum.
            seed: of whose turn it is.

        Raises:
            UsageError: see `Turns`.
        """
        self._sets, self._turns = (first, *others), Turns(weights, seed)
        self._length = round(len(first) / self._turns.share(0))

    def __len__(self) -> int:
        return self._length

    def empty(self, rows: int) -> Batch:
        """See `Samples`."""
        return self._sets[0].empty(rows)

    def fill(self, batch: Batch, row: int, number: int) -> None:
        """See `Samples`."""
        chosen, own_number = self._turns[number]
        self._sets[chosen].fill(batch, row, own_number)
