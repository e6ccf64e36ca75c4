"""Assignments, ties included, against the procedure written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from experiments.benchmarks.slow_grouping import Munkres
from pinet_jax.assignment import assign

N = 12
run = jax.jit(jax.vmap(assign))


def problem(rng, levels, coarse):
    """Rounded distances with many ties, and discounts by row; coarse ones tie as well."""
    rows, columns = rng.integers(1, N + 1, 2)
    steps = rng.integers(0, levels, (rows, columns))
    discount = np.sort(rng.uniform(0.1, 1.2, rows).astype(np.float32))[::-1]
    return steps, np.round(discount * 4) / np.float32(4) if coarse else discount


def padded(problems):
    steps, discounts = np.zeros((len(problems), N, N), np.int32), np.zeros((len(problems), N), "f4")
    for i, (cost, discount) in enumerate(problems):
        steps[i, : cost.shape[0], : cost.shape[1]] = cost
        discounts[i, : len(discount)] = discount
    sizes = np.array([cost.shape for cost, _ in problems], np.int32)
    return steps, discounts, sizes[:, 0], sizes[:, 1]


def full_cost(steps, discount):
    cost = 100.0 * steps - discount.astype(np.float64)[:, None]
    extra = max(cost.shape[0] - cost.shape[1], 0)
    return np.concatenate([cost, np.full((len(cost), extra), 1e10)], axis=1)


@pytest.mark.parametrize("coarse", [False, True])
@pytest.mark.parametrize("levels", [2, 4, 40])
def test_every_tie_is_decided_as_in_the_procedure(levels, coarse):
    rng = np.random.default_rng(levels)
    problems = [problem(rng, levels, coarse) for _ in range(60)]
    ours = np.asarray(run(*padded(problems)))
    for (steps, discount), columns in zip(problems, ours, strict=True):
        cost = full_cost(steps, discount)
        assert columns[: len(cost)].tolist() == Munkres(cost).solve()[: len(cost)]
        best = cost[linear_sum_assignment(cost)].sum()
        assert cost[np.arange(len(cost)), columns[: len(cost)]].sum() == pytest.approx(best)


def test_by_hand():
    steps = jnp.asarray([[0, 1], [0, 3]], jnp.int32)
    assert assign(steps, jnp.zeros(2), jnp.int32(2), jnp.int32(2)).tolist() == [1, 0]
    # One column for two rows: the one that gains more by it.
    assert assign(steps, jnp.asarray([0.5, 0.6]), jnp.int32(2), jnp.int32(1)).tolist() == [1, 0]


def test_nothing_to_assign():
    assign(jnp.zeros((3, 3), jnp.int32), jnp.zeros(3), jnp.int32(0), jnp.int32(0))


def test_distances_beyond_all_measure_still_end():
    steps = jnp.full((3, 3), 10**6, jnp.int32).at[0, 0].set(0)
    columns = assign(steps, jnp.full(3, 4000.0), jnp.int32(3), jnp.int32(2))
    assert sorted(columns.tolist()) == [0, 1, 2]
