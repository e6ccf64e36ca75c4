"""Associative-embedding grouping: keypoints with alike tags become people.

Everything is one image's, has a static shape, and is meant for `jax.vmap`. The keypoints are gone
through one after the other, each with an assignment (`assignment.py`). Maps are channels first.

Legend for shapes: K keypoints, M candidates of each, T tags of a candidate, G = K * M groups, maps
of H x W positions.

References:
    Newell et al., Associative embedding, NeurIPS 2017, and the released code of HigherHRNet, Cheng
    et al., CVPR 2020.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.assignment import MOST_ROWS, assign
from pinet_jax.errors import UsageError
from pinet_jax.networks.materialization import materialized

_FAR = 1e6  # a tag distance that is as good as any longer one, and fits the assignment's integers


@dataclasses.dataclass(frozen=True)
class GroupingConfig:
    """The published thresholds."""

    max_people: int = 30  # candidates of a keypoint, and groups that candidates can join; to 32
    detection_threshold: float = 0.1  # of the heatmap; candidates are above it
    tag_threshold: float = 1.0  # tags of one person are closer
    window: int = 5  # positions; a candidate is the highest of the window around it

    def __post_init__(self) -> None:
        """Refuses what the assignment cannot hold.

        Raises:
            UsageError: with the field's name and value.
        """
        if not 1 <= self.max_people <= MOST_ROWS:
            raise UsageError(f"max_people {self.max_people}: use 1 to {MOST_ROWS}")
        if self.window < 1 or self.window % 2 == 0:
            raise UsageError(f"window {self.window}: use an odd number of positions")


class Candidates(NamedTuple):
    """Where keypoints may be.

    Attributes:
        yx: int32 [K, M, 2], positions on the map.
        scores: [K, M], the heatmap there, falling.
        tags: [K, M, T].
    """

    yx: jax.Array
    scores: jax.Array
    tags: jax.Array


class Groups(NamedTuple):
    """People as lists of candidates, in the order in which they were opened.

    Attributes:
        yx: int32 [G, K, 2], positions on the map.
        scores: [G, K]; 0 where a keypoint is missing.
        mask: [G] booleans, the groups that are there: the first ones.
    """

    yx: jax.Array
    scores: jax.Array
    mask: jax.Array


class _Open(NamedTuple):
    """The groups while keypoints are added.

    Attributes:
        opened: int32, how many there are.
        opened_by: int32 [G], the group that a name has opened, or -1; see `_names`.
        tag_sum: [M, T] over a group's members; of the groups that candidates can join.
        members: int32 [M].
    """

    opened: jax.Array
    opened_by: jax.Array
    tag_sum: jax.Array
    members: jax.Array


def find_candidates(heatmap: jax.Array, tag_maps: jax.Array, config: GroupingConfig) -> Candidates:
    """The highest local maxima of every keypoint; of equal ones the first in reading order.

    Args:
        heatmap: [K, H, W].
        tag_maps: [K, T, H, W].
        config: the window, and how many.
    """
    k, _, w = heatmap.shape
    peaks = jnp.where(heatmap == _window_maximum(heatmap, config.window), heatmap, 0).reshape(k, -1)
    scores, index = jax.lax.top_k(peaks, min(config.max_people, peaks.shape[1]))
    flat = tag_maps.reshape(k, tag_maps.shape[1], -1)
    tags = jnp.take_along_axis(flat, index[:, None], axis=2)  # [K, T, M]
    yx = jnp.stack([index // w, index % w], axis=-1)
    return Candidates(yx, scores, jnp.swapaxes(tags, 1, 2))


def _window_maximum(maps: jax.Array, window: int) -> jax.Array:
    """The highest value of the window around every position of [K, H, W]."""
    half = window // 2
    for axis in (1, 2):  # a square's maximum is that of its columns' maxima
        size = maps.shape[axis]
        edges = [(half, half) if a == axis else (0, 0) for a in range(3)]
        padded = materialized(jnp.pad(maps, edges, constant_values=-jnp.inf))
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(window)]
        maps = materialized(functools.reduce(jnp.maximum, shifted))
    return maps


def group_candidates(
    candidates: Candidates, order: Sequence[int], config: GroupingConfig
) -> Groups:
    """Goes through the keypoints, and gives every candidate to the group with the closest mean tag.

    A candidate that the assignment gives no group, or one that is too far, opens a group. Two that
    open one with exactly the same first tag open one together: the second takes the place of the
    first. Only the first M groups can be joined.

    Args:
        candidates: of one image.
        order: in which the keypoints are gone through; all K of them.
        config: the thresholds.

    References:
        The released code, which keeps groups in a dictionary whose keys are first tags.
    """
    visited = np.asarray(order)
    tags = candidates.tags
    k, m, t = tags.shape
    members = jnp.zeros_like(tags, jnp.int32, shape=(m,))
    start = _Open(
        opened=jnp.zeros_like(members, shape=()),
        opened_by=jnp.full_like(members, -1, shape=(k * m,)),
        tag_sum=jnp.zeros_like(tags, shape=(m, t)),
        members=members,
    )
    end, slots = jax.lax.scan(
        lambda groups, joint: _add_keypoint(groups, *joint, config),
        start,
        (candidates.scores[visited], tags[visited], _names(tags)[visited]),
    )
    slots = slots[np.argsort(visited)]  # [K, M]
    place = slots, jnp.broadcast_to(jnp.arange(k)[:, None], slots.shape)
    yx = jnp.zeros((k * m, k, 2), jnp.int32).at[place].set(candidates.yx, mode="drop")
    scores = jnp.zeros((k * m, k), tags.dtype).at[place].set(candidates.scores, mode="drop")
    return Groups(yx, scores, jnp.arange(k * m) < end.opened)


def _names(tags: jax.Array) -> jax.Array:
    """A number [K, M] for every candidate: the same for those with exactly the same first tag."""
    keys = tags[..., 0].reshape(-1)
    order = jnp.argsort(keys)
    is_new = jnp.diff(keys[order], prepend=jnp.nan) != 0
    ranks = jnp.cumsum(is_new, dtype=jnp.int32) - 1
    return jnp.zeros_like(ranks).at[order].set(ranks).reshape(tags.shape[:2])


def _add_keypoint(
    groups: _Open, scores: jax.Array, tags: jax.Array, names: jax.Array, config: GroupingConfig
) -> tuple[_Open, jax.Array]:
    """Puts one keypoint's candidates [M] into groups; the group of each, or G for none."""
    valid = scores > config.detection_threshold
    column = _closest_groups(groups, scores, tags, valid, config)
    opens = valid & (column < 0)
    slot, is_new = _slots_of_openers(groups, names, opens)
    slot = jnp.where(opens, slot, column)
    index, nowhere = jnp.arange(scores.size), groups.opened_by.size
    slot = jnp.where(valid, slot, nowhere)
    together = slot[:, None] == slot[None, :]
    is_last = ~(together & (index[None, :] > index[:, None])).any(axis=1)

    # Whoever opens a group that is there already starts its tags anew.
    inside = slot[None, :] == index[:, None]  # [group, candidate]
    opener = jnp.where(inside & opens[None, :], index[None, :], -1).max(axis=1)
    joins = inside & (index[None, :] > opener[:, None])
    reset = opener >= 0
    tag_sum = jnp.where(reset[:, None], tags[opener], groups.tag_sum)
    named = jnp.where(is_new, names, nowhere)
    return _Open(
        opened=groups.opened + is_new.sum(dtype=jnp.int32),
        opened_by=groups.opened_by.at[named].set(slot, mode="drop"),
        tag_sum=tag_sum + jnp.where(joins[..., None], tags[None], 0).sum(axis=1),
        members=jnp.where(reset, 1, groups.members) + joins.sum(axis=1, dtype=jnp.int32),
    ), jnp.where(is_last, slot, nowhere)


def _closest_groups(
    groups: _Open, scores: jax.Array, tags: jax.Array, valid: jax.Array, config: GroupingConfig
) -> jax.Array:
    """The group [M] that each candidate joins, or -1."""
    columns = jnp.minimum(groups.opened, scores.size)
    mean = groups.tag_sum / jnp.maximum(groups.members, 1).astype(tags.dtype)[:, None]
    distance = jnp.sqrt(((tags[:, None] - mean[None]) ** 2).sum(axis=-1))
    near = jnp.where(distance < _FAR, distance, _FAR)  # also where it is no number
    steps = jnp.round(near).astype(jnp.int32)
    column = assign(steps, scores, valid.sum(dtype=jnp.int32), columns)
    chosen = jnp.take_along_axis(distance, column[:, None], axis=1)[:, 0]
    return jnp.where((column < columns) & (chosen < config.tag_threshold), column, -1)


def _slots_of_openers(
    groups: _Open, names: jax.Array, opens: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The group [M] that each candidate would open, and whether it is a new one."""
    index = jnp.arange(names.size)
    known = groups.opened_by[names]
    first = jnp.where(
        (names[:, None] == names[None, :]) & opens[None, :], index[None, :], names.size
    )
    first = first.min(axis=1)
    is_new = opens & (known < 0) & (first == index)
    # A new group's number is that of the new ones up to its first candidate.
    ahead = (is_new[None, :] & (index[None, :] < first[:, None])).sum(axis=1, dtype=jnp.int32)
    return jnp.where(known < 0, groups.opened + ahead, known), is_new
