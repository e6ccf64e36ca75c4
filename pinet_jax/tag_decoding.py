"""From heatmaps and tag maps to people: grouped, completed, within their pixels.

Everything is one image's, has a static shape, and is meant for `jax.vmap`. Maps are channels first:
the searches go through one keypoint's map at a time.

Legend for shapes: K keypoints, T tags of a position, N poses, maps of H x W positions.

References:
    The released code of HigherHRNet, Cheng et al., CVPR 2020.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax.grouping import GroupingConfig, Groups, find_candidates, group_candidates
from pinet_jax.networks.materialization import materialized
from pinet_jax.poses import PoseSet


def find_people(
    heatmap: jax.Array,
    tag_maps: jax.Array,
    order: Sequence[int],
    config: GroupingConfig,
    limit: int,
) -> PoseSet:
    """The people of one image, best first, in pixels of the maps.

    Args:
        heatmap: [K, H, W].
        tag_maps: [K, T, H, W].
        order: in which the keypoints are grouped.
        config: of the grouping.
        limit: N, the most poses; those with the highest scores, which are the mean of the scores
            of the keypoints that grouping gave them.
    """
    groups = group_candidates(find_candidates(heatmap, tag_maps, config), order, config)
    poses = best_groups(groups, limit)
    scores = poses.scores.mean(axis=1)
    yx, keypoint_scores = fill_missing(heatmap, tag_maps, poses)
    xy = jnp.where(keypoint_scores[..., None] > 0, adjust(heatmap, yx), 0)
    keypoints = jnp.concatenate([xy, keypoint_scores[..., None]], axis=-1)
    return PoseSet(keypoints, scores, poses.mask)


def best_groups(groups: Groups, limit: int) -> Groups:
    """So many groups with the highest mean score, best first; of equal ones the earlier first."""
    scores = jnp.where(groups.mask, groups.scores.mean(axis=1), -jnp.inf)
    _, index = jax.lax.top_k(scores, min(limit, scores.size))
    return jax.tree.map(lambda x: x[index], groups)


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

    Every step of the distance between tags, rounded, weighs as much as 1 on the heatmap.

    Args:
        heatmap: [K, H, W].
        tag_maps: [K, T, H, W].
        groups: N of them.

    Returns:
        yx [N, K, 2] and scores [N, K], the old ones where there are any; a score stays 0 where the
        best position's is not positive.
    """
    (n, k), w = groups.scores.shape, heatmap.shape[2]
    found = groups.scores > 0
    mean = _mean_tags(tag_maps, groups.yx, found)  # [N, T]
    wanted = ((groups.scores == 0) & groups.mask[:, None]).reshape(-1)
    # Wanted ones first: what all have is not looked for, and no shape depends on how many lack it.
    pairs = jnp.argsort(~wanted, stable=True)

    def search(i: jax.Array, best: jax.Array) -> jax.Array:
        person, keypoint = pairs[i] // k, pairs[i] % k
        difference = tag_maps[keypoint] - mean[person][:, None, None]
        distance = jnp.sqrt(sum(jnp.square(one) for one in difference))
        return best.at[pairs[i]].set(_argmax(heatmap[keypoint] - jnp.round(distance)))

    start = jnp.zeros_like(wanted, jnp.int32)
    best = jax.lax.fori_loop(0, wanted.sum(), search, start).reshape(n, k)
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
    # XLA's CPU takes a maximum 20 times as fast as its place, and would compute x twice for both.
    x = materialized(x)
    y = jnp.argmax(x.max(axis=1))
    return (y * x.shape[1] + jnp.argmax(x[y])).astype(jnp.int32)
