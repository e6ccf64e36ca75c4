"""Associative-embedding grouping: keypoints with alike tags become people.

Newell et al., Associative embedding, NeurIPS 2017, as Cheng et al., HigherHRNet, CVPR 2020, published
it. Everything is one image's, has a static shape, and is meant for `jax.vmap`; the keypoints are gone
through one after the other, each with an assignment (`assignment.py`).

Maps are channels first here: the searches go through one keypoint's map at a time.

Legend for shapes: K keypoints, M candidates of each, T tags of a candidate (with the flip test two),
G = K * M groups, N poses, maps of H x W positions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.assignment import assign

_FAR = 1e6  # a tag distance that is as good as any longer one, and fits the assignment's integers


@dataclasses.dataclass(frozen=True)
class GroupingConfig:
    """The published thresholds."""

    max_people: int = 30  # candidates of a keypoint, and groups that candidates can join
    detection_threshold: float = 0.1  # of the heatmap; candidates are above it
    tag_threshold: float = 1.0  # tags of one person are closer
    window: int = 5  # positions; a candidate is the highest of the window around it


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
        count: int32, of the groups.
        opened_by: int32 [G], the group that a name has opened, or -1; see `_names`.
        tag_sum: [M, T] over a group's members; of the groups that candidates can join.
        members: int32 [M].
    """

    count: jax.Array
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
        padded = jnp.pad(maps, edges, constant_values=-jnp.inf)
        shifted = [jax.lax.slice_in_dim(padded, i, i + size, axis=axis) for i in range(window)]
        maps = jnp.stack(shifted).max(axis=0)
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
        HigherHRNet's released code, which groups by a dictionary whose keys are tags.
    """
    order = np.asarray(order)
    k, m, t = candidates.tags.shape
    dtype = candidates.tags.dtype
    start = _Open(
        count=jnp.zeros((), jnp.int32),
        opened_by=jnp.full(k * m, -1),
        tag_sum=jnp.zeros((m, t), dtype),
        members=jnp.zeros(m, jnp.int32),
    )
    end, slots = jax.lax.scan(
        lambda groups, joint: _add_keypoint(groups, *joint, config),
        start,
        (candidates.scores[order], candidates.tags[order], _names(candidates.tags)[order]),
    )
    slots = slots[np.argsort(order)]  # [K, M]
    place = slots, jnp.broadcast_to(jnp.arange(k)[:, None], slots.shape)
    yx = jnp.zeros((k * m, k, 2), jnp.int32).at[place].set(candidates.yx, mode="drop")
    scores = jnp.zeros((k * m, k), dtype).at[place].set(candidates.scores, mode="drop")
    return Groups(yx, scores, jnp.arange(k * m) < end.count)


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
        count=groups.count + is_new.sum(dtype=jnp.int32),
        opened_by=groups.opened_by.at[named].set(slot, mode="drop"),
        tag_sum=tag_sum + jnp.where(joins[..., None], tags[None], 0).sum(axis=1),
        members=jnp.where(reset, 1, groups.members) + joins.sum(axis=1, dtype=jnp.int32),
    ), jnp.where(is_last, slot, nowhere)


def _closest_groups(
    groups: _Open, scores: jax.Array, tags: jax.Array, valid: jax.Array, config: GroupingConfig
) -> jax.Array:
    """The group [M] that each candidate joins, or -1."""
    columns = jnp.minimum(groups.count, scores.size)
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
    first = jnp.where((names[:, None] == names[None, :]) & opens[None, :], index[None, :], names.size)
    first = first.min(axis=1)
    is_new = opens & (known < 0) & (first == index)
    # A new group's number is that of the new ones up to its first candidate.
    ahead = (is_new[None, :] & (index[None, :] < first[:, None])).sum(axis=1, dtype=jnp.int32)
    return jnp.where(known < 0, groups.count + ahead, known), is_new


def adjust(heatmap: jax.Array, yx: jax.Array) -> jax.Array:
    """Keypoints within their pixels: the middle, and a quarter towards the higher neighbour.

    Args:
        heatmap: [K, H, W].
        yx: int32 [..., K, 2].

    Returns:
        [..., K, 2], x and y.
    """
    k, h, w = heatmap.shape
    y, x = yx[..., 0], yx[..., 1]
    channel = np.broadcast_to(np.arange(k), y.shape)
    right = heatmap[channel, y, jnp.minimum(x + 1, w - 1)]
    left = heatmap[channel, y, jnp.maximum(x - 1, 0)]
    below = heatmap[channel, jnp.minimum(y + 1, h - 1), x]
    above = heatmap[channel, jnp.maximum(y - 1, 0), x]
    step = jnp.stack([right > left, below > above], axis=-1)
    quarter = jnp.where(step, 0.75, 0.25).astype(heatmap.dtype)
    return jnp.stack([x, y], axis=-1).astype(heatmap.dtype) + quarter


def fill_missing(
    heatmap: jax.Array, tag_maps: jax.Array, groups: Groups
) -> tuple[jax.Array, jax.Array]:
    """Looks for the keypoints that people lack: high on the heatmap, and with the person's tags.

    Args:
        heatmap: [K, H, W].
        tag_maps: [K, T, H, W].
        groups: N of them.

    Returns:
        yx [N, K, 2] and scores [N, K], the old ones where there are any; a score stays 0 where the
        best position's is not positive.
    """
    (n, k), (h, w) = groups.scores.shape, heatmap.shape[1:]
    found = groups.scores > 0
    mean = _mean_tags(tag_maps, groups.yx, found)  # [N, T]
    wanted = ((groups.scores == 0) & groups.mask[:, None]).reshape(-1)
    # Wanted ones first: what all have is not looked for, and no shape depends on how many lack it.
    pairs = jnp.argsort(~wanted, stable=True)

    def search(i: jax.Array, best: jax.Array) -> jax.Array:
        person, keypoint = pairs[i] // k, pairs[i] % k
        difference = tag_maps[keypoint] - mean[person][:, None, None]
        distance = jnp.sqrt((difference**2).sum(axis=0))
        return best.at[pairs[i]].set(_argmax(heatmap[keypoint] - jnp.round(distance)))

    best = jax.lax.fori_loop(0, wanted.sum(), search, jnp.zeros(n * k, jnp.int32)).reshape(n, k)
    there = heatmap.reshape(k, -1)[np.arange(k)[None, :], best]
    take = wanted.reshape(n, k) & (there > 0)
    yx = jnp.stack([best // w, best % w], axis=-1)
    return jnp.where(take[..., None], yx, groups.yx), jnp.where(take, there, groups.scores)


def _mean_tags(tag_maps: jax.Array, yx: jax.Array, found: jax.Array) -> jax.Array:
    """[N, T] of the keypoints that were found."""
    channel = np.broadcast_to(np.arange(yx.shape[1]), yx.shape[:-1])
    tags = tag_maps[channel, :, yx[..., 0], yx[..., 1]]  # [N, K, T]
    total = jnp.where(found[..., None], tags, 0).sum(axis=1)
    return total / jnp.maximum(found.sum(axis=1, keepdims=True), 1).astype(tags.dtype)


def _argmax(x: jax.Array) -> jax.Array:
    """The first place of the highest value of [H, W], int32, in reading order."""
    return jnp.argmax(x.reshape(-1)).astype(jnp.int32)
