"""Minimum-cost assignment on the device, with the ties decided as Munkres' procedure decides them.

Costs that are rounded have many best assignments. Which of them comes out depends on the order in
which the procedure looks for zeros; here it is that of the classic `munkres` package (1.1.4), which
the associative-embedding systems were published with.

Arithmetic is exact, in integers: a cost is a whole number of `STEP`s and a number of quanta, which
are 2^-19, the spacing of float64 at the padding's cost of 1e10.

Loops begin with arrays made "like" others: only such a beginning lies on the same devices as the
rest where a batch is spread over several.

Legend for shapes: N rows and columns of the padded matrix.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

STEP = 100  # of costs
MOST_ROWS = 32  # and columns: the bits of a word
PADDING_STEPS = 10**8  # what a column costs that is added where there are more rows than columns

_QUANTA = 2**19  # in a cost of 1
_CARRY = STEP * _QUANTA  # quanta in a step


class Cost(NamedTuple):
    """Exact numbers: `steps` * STEP + `quanta` * 2^-19, with 0 <= quanta < _CARRY; both int32."""

    steps: jax.Array
    quanta: jax.Array

    def plus(self, other: Cost) -> Cost:
        """The sum."""
        return _normal(self.steps + other.steps, self.quanta + other.quanta)

    def minus(self, other: Cost) -> Cost:
        """The difference."""
        return _normal(self.steps - other.steps, self.quanta - other.quanta)

    def where(self, condition: jax.Array) -> Cost:
        """Itself where the condition holds, else zero."""
        return Cost(jnp.where(condition, self.steps, 0), jnp.where(condition, self.quanta, 0))

    def is_zero(self) -> jax.Array:
        """Booleans of its shape."""
        return (self.steps == 0) & (self.quanta == 0)


class _Matching(NamedTuple):
    """Stars, primes and covers, and where the search stands.

    Attributes:
        star: int32 [N], the column of a row's starred zero, or -1.
        prime: int32 [N], the column of a row's primed zero.
        row_covered: [N] booleans.
        covered: columns, as bits.
        row: where the search goes on, or the path.
        column: likewise.
        on_path: whether the stars along a path are being exchanged.
        stuck: whether no zero is left to be found.
    """

    star: jax.Array
    prime: jax.Array
    row_covered: jax.Array
    covered: jax.Array
    row: jax.Array
    column: jax.Array
    on_path: jax.Array
    stuck: jax.Array


def assign(
    steps: jax.Array, discount: jax.Array, num_rows: jax.Array, num_columns: jax.Array
) -> jax.Array:
    """The best assignment of rows to columns by cost STEP * steps - discount.

    Where there are more rows than columns, columns of cost 1e10 are added; where there are fewer,
    rows of cost 0.

    Args:
        steps: int32 [N, N], from 0 to 10^6; N is at most MOST_ROWS.
        discount: float32 [N], of a row in all its columns; from 0 to 4000.
        num_rows: int32, the first rows count.
        num_columns: int32, the first columns count.

    Returns:
        int32 [N], every row's column; one that does not count means none.
    """
    size = jnp.maximum(num_rows, num_columns)
    unused = jnp.arange(steps.shape[0]) >= size
    cost = _row_reduced(steps, discount, num_rows, num_columns)
    star = _first_stars(_bits(cost.is_zero() & ~unused[:, None] & ~unused[None, :]))
    # What is outside of the square that counts keeps out of the search: starred with itself.
    star = jnp.where(unused, jnp.arange(star.size), star)

    def grow(state: tuple[Cost, _Matching]) -> tuple[Cost, _Matching]:
        cost, matching = state
        cost, zeros = _with_open_zero(cost, matching)
        nothing = jnp.zeros_like(matching.row)
        start = matching._replace(row=nothing, column=nothing, stuck=nothing > 0)
        step = functools.partial(_step, zeros=zeros, unused=unused, size=size)
        return cost, jax.lax.while_loop(lambda m: ~m.stuck, step, start)

    _, end = jax.lax.while_loop(
        lambda state: (state[1].star < 0).any(), grow, (cost, _uncovered(star, unused))
    )
    return end.star


def _bits(columns: jax.Array) -> jax.Array:
    """Booleans [..., N] as bits of uint32 [...]."""
    weights = np.uint32(1) << np.arange(columns.shape[-1], dtype=np.uint32)
    weights = weights.reshape((1,) * (columns.ndim - 1) + (-1,))
    return jnp.where(columns, weights, np.uint32(0)).sum(axis=-1, dtype=jnp.uint32)


def _bit(column: jax.Array) -> jax.Array:
    """A column as a bit; none for -1."""
    return jnp.where(column < 0, 0, jnp.uint32(1) << column.astype(jnp.uint32))


def _uncovered(star: jax.Array, unused: jax.Array) -> _Matching:
    """The start of a search: starred columns are covered, and nothing is primed."""
    covered, nothing = _bit(star).sum(dtype=jnp.uint32), jnp.zeros_like(star[0])
    prime, done = jnp.full_like(star, -1), (star >= 0).all()
    return _Matching(star, prime, unused, covered, nothing, nothing, nothing > 0, done)


def _normal(steps: jax.Array, quanta: jax.Array) -> Cost:
    """Brings quanta within twice the range back into it."""
    carry = (quanta >= _CARRY).astype(jnp.int32) - (quanta < 0).astype(jnp.int32)
    return Cost(steps + carry, quanta - carry * _CARRY)


def _row_reduced(
    steps: jax.Array, discount: jax.Array, num_rows: jax.Array, num_columns: jax.Array
) -> Cost:
    """The padded square less its rows' minima."""
    index = jnp.arange(steps.shape[0])
    real_row, real_column = (index < num_rows)[:, None], (index < num_columns)[None, :]
    least = jnp.where(real_column, steps, PADDING_STEPS).min(axis=1, keepdims=True)
    # The discount is a row's own: between real columns it cancels, and only in the difference to
    # padding does it stay, there rounded to the spacing of float64.
    padding = jnp.broadcast_to(PADDING_STEPS - least, steps.shape)
    quanta = jnp.round(discount * _QUANTA).astype(jnp.int32)[:, None]
    cost = Cost(
        jnp.where(real_column, steps - least, padding + quanta // _CARRY),
        jnp.where(real_column, 0, jnp.broadcast_to(quanta % _CARRY, steps.shape)),
    )
    return cost.where(real_row)


def _first_stars(zeros: jax.Array) -> jax.Array:
    """Row by row, the first zero whose column is free, or -1; zeros are bits [N]."""

    def star(taken: jax.Array, row: jax.Array) -> tuple[jax.Array, jax.Array]:
        free = row & ~taken
        first = free & -free
        return taken | first, 31 - jax.lax.clz(first).astype(jnp.int32)

    return jax.lax.scan(star, jnp.zeros_like(zeros[0]), zeros)[1]


def _with_open_zero(cost: Cost, matching: _Matching) -> tuple[Cost, jax.Array]:
    """The cost with a zero that nothing covers, and all zeros as bits [N]."""
    index = np.arange(matching.star.size, dtype=np.uint32)
    row_covered = matching.row_covered[:, None]
    column_covered = ((matching.covered >> index) & 1).astype(bool)[None, :]
    open_ = ~row_covered & ~column_covered
    least = _minimum(cost, open_)
    cost = cost.plus(least.where(row_covered & column_covered)).minus(least.where(open_))
    return cost, _bits(cost.is_zero())


def _step(m: _Matching, *, zeros: jax.Array, unused: jax.Array, size: jax.Array) -> _Matching:
    """The next zero of the search, or the next star of the path that it ended with."""
    searched, exchanged = _search(m, zeros, size), _exchange(m, unused)
    return jax.tree.map(lambda a, b: jnp.where(m.on_path, a, b), exchanged, searched)


def _search(m: _Matching, zeros: jax.Array, size: jax.Array) -> _Matching:
    """Primes the next zero that nothing covers."""
    index = jnp.arange(m.star.size)
    open_ = jnp.where(m.row_covered, 0, zeros & ~m.covered)
    # Rows in cyclic order from the last one, and of one's zeros the last in cyclic order.
    after = jnp.where(index >= m.row, index - m.row, index - m.row + size)
    nearest = jnp.where(open_ > 0, after, 2 * size).min()
    found = nearest < 2 * size
    row = jnp.where(m.row + nearest >= size, m.row + nearest - size, m.row + nearest)
    here = (index == row) & found
    choice = jnp.where(here, open_, 0).max()
    before = choice & (_bit(m.column) - 1)
    column = 31 - jax.lax.clz(jnp.where(before > 0, before, choice)).astype(jnp.int32)
    star = jnp.where(here, m.star, -1).max()
    return m._replace(
        prime=jnp.where(here, column, m.prime),
        row_covered=m.row_covered | (here & (star >= 0)),
        covered=m.covered & ~_bit(star),
        row=row,
        column=jnp.where(star < 0, column, star),
        on_path=found & (star < 0),
        stuck=~found,
    )


def _exchange(m: _Matching, unused: jax.Array) -> _Matching:
    """Stars a prime; the star in its column goes to its own row's prime, if there is one."""
    index = jnp.arange(m.star.size)
    displaced = m.star == m.column
    star = jnp.where(index == m.row, m.column, jnp.where(displaced, -1, m.star))
    again = _uncovered(star, unused)
    goes_on = displaced.any()
    row = jnp.where(displaced, index, -1).max()
    return _Matching(
        star,
        m.prime,
        m.row_covered & (goes_on | unused),
        jnp.where(goes_on, m.covered, again.covered),
        jnp.where(goes_on, row, 0),
        jnp.where(goes_on, jnp.where(displaced, m.prime, -1).max(), 0),
        goes_on,
        ~goes_on & again.stuck,
    )


def _minimum(cost: Cost, where: jax.Array) -> Cost:
    """The least of the numbers that count, [1, 1]."""
    most = jnp.iinfo(jnp.int32).max
    steps = jnp.where(where, cost.steps, most).min(keepdims=True)
    quanta = jnp.where(where & (cost.steps == steps), cost.quanta, most).min(keepdims=True)
    return Cost(steps, quanta)
