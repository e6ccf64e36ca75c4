"""Which samples a batch is made of: a pure function of (seed, step), for any number of processes.

The samples of a training run are numbered through, and step s takes the samples s * B ..
(s + 1) * B - 1 of all processes together; a process takes one of equal, contiguous shares of them.
Sample n of a set of N belongs to epoch n // N, and each epoch has every one of the N once. Of
several sets, `Turns` says whose turn sample n is.

Legend for shapes: N records or persons, B rows of a batch.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from pinet_jax.errors import InputError, UsageError

_ORDER_STREAM = 0  # tells these random numbers from the augmentation's
_TURNS_STREAM = 5
_BLOCK = 1000  # samples that the weights of a mixture hold for, exactly


@dataclasses.dataclass(frozen=True)
class Share:
    """Which rows of every batch a process makes."""

    process_index: int = 0
    process_count: int = 1

    def rows(self, batch_size: int) -> slice:
        """This process's rows of a batch of all processes.

        Raises:
            InputError: the rows cannot be shared equally.
        """
        if batch_size < 1 or batch_size % self.process_count:
            raise InputError(
                f"batch size {batch_size}: use a multiple of the {self.process_count} process(es)"
            )
        count = batch_size // self.process_count
        return slice(self.process_index * count, (self.process_index + 1) * count)


def sample_order(
    num_records: int, batch_size: int, seed: int, step: int
) -> tuple[np.ndarray, np.ndarray]:
    """The epoch and the record of each of a step's samples, int64 [B] both."""
    numbers = range(step * batch_size, (step + 1) * batch_size)
    pairs = [sample_place(num_records, seed, number) for number in numbers]
    epochs, places = np.array(pairs, np.int64).T
    return epochs, places


def sample_place(num_records: int, seed: int, number: int) -> tuple[int, int]:
    """The epoch and the record of a sample."""
    epoch, place = divmod(number, num_records)
    return epoch, int(_epoch_order(num_records, seed, epoch)[place])


@functools.lru_cache(maxsize=16)
def _epoch_order(num_records: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the records. By sorting: NumPy may change how it shuffles, not `random`."""
    numbers = np.random.default_rng((_ORDER_STREAM, seed, epoch)).random(num_records)
    return np.argsort(numbers, kind="stable")


class Turns:
    """Whose turn each sample of a mixture is.

    Of every thousand samples each set has as many as its weight says, in a random order. So the
    weights are met exactly, and where a set's own samples stand is known without counting from the
    beginning.
    """

    def __init__(self, weights: Sequence[float], seed: int) -> None:
        """Shares a thousand samples out.

        Args:
            weights: of the sets, positive, of any sum.
            seed: of the order.

        Raises:
            UsageError: a set would have no sample of a thousand.
        """
        self._seed = seed
        wanted = _BLOCK * np.asarray(weights, np.float64) / np.sum(weights)
        self._counts = np.floor(wanted).astype(np.int64)
        left = _BLOCK - int(self._counts.sum())
        self._counts[np.argsort(self._counts - wanted, kind="stable")[:left]] += 1
        if self._counts.min() < 1:
            raise UsageError(f"weights {tuple(weights)}: give each at least 1/{_BLOCK} of the sum")

    def share(self, source: int) -> float:
        """The share of all samples that are a set's."""
        return int(self._counts[source]) / _BLOCK

    def __getitem__(self, number: int) -> tuple[int, int]:
        """The set of a sample of the mixture, and the sample's number in the set."""
        block, place = divmod(number, _BLOCK)
        source, earlier = _block_order(tuple(self._counts.tolist()), self._seed, block)
        mine = int(source[place])
        return mine, block * int(self._counts[mine]) + int(earlier[place])


@functools.lru_cache(maxsize=16)
def _block_order(counts: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """The set of each sample of a block, and how many before it in the block are that set's."""
    sources = np.repeat(np.arange(len(counts)), counts)
    numbers = np.random.default_rng((_TURNS_STREAM, seed, block)).random(_BLOCK)
    order = sources[np.argsort(numbers, kind="stable")]
    earlier = np.zeros(_BLOCK, np.int64)
    for source, count in enumerate(counts):
        earlier[order == source] = np.arange(count)
    return order, earlier
