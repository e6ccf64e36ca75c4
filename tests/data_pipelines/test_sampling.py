"""Whose turn it is in a mixture: weights are met, and no sample is lost."""

import itertools
from collections import Counter

import numpy as np
import pytest

from data_pipelines.sampling import Turns
from pinet_jax.errors import UsageError

WEIGHTS = (1.0, 0.5, 0.1)


def test_every_thousand_samples_have_the_weights():
    turns = Turns(WEIGHTS, seed=3)
    for start in (0, 1000, 7_000_000):
        counts = Counter(turns[number][0] for number in range(start, start + 1000))
        assert counts == {0: 625, 1: 313, 2: 62}  # 625, 312.5 and 62.5
    assert [turns.share(source) for source in range(3)] == [0.625, 0.313, 0.062]


def test_a_sets_own_samples_are_numbered_through():
    turns, seen = Turns(WEIGHTS, seed=3), Counter()
    for number in range(2500):
        source, own = turns[number]
        assert own == seen[source]  # counted from the beginning
        seen[source] += 1


def test_turns_do_not_come_in_order_and_change_with_the_seed():
    orders = [[Turns(WEIGHTS, seed)[n][0] for n in range(1000)] for seed in (0, 1)]
    assert orders[0] != orders[1]
    longest = max(len(list(run)) for _, run in itertools.groupby(orders[0]))
    assert longest < 40  # a run of 40 of the most frequent set has the chance 1e-5
    assert orders[0] != [Turns(WEIGHTS, 0)[1000 + n][0] for n in range(1000)]


def test_one_set_alone_has_every_turn():
    assert [Turns([0.3], 0)[n] for n in (0, 999, 1000, 12345)] == [
        (0, 0),
        (0, 999),
        (0, 1000),
        (0, 12345),
    ]


@pytest.mark.parametrize("weights", [(1.0, 1e-4), (5000.0, 1.0)])
def test_a_weight_too_small_to_be_met_is_refused(weights):
    with pytest.raises(UsageError, match="at least 1/1000 of the sum"):
        Turns(weights, 0)


def test_many_sets_share_what_rounding_leaves():
    turns = Turns(np.ones(7), 0)
    counts = Counter(turns[number][0] for number in range(1000))
    assert sorted(counts.values()) == [142] + [143] * 6
