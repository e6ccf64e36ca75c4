"""Poses of heatmaps and tag maps, against figures and against the procedure written out."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.benchmarks import slow_grouping
from pinet_jax.frames import FrameBatch
from pinet_jax.grouping import Candidates, GroupingConfig, Groups
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.networks.higher_hrnet import TaggedHeatmaps
from pinet_jax.tag_decoding import adjust, best_groups, fill_missing, find_people
from tests.conftest import golden

AE = HigherHRNet(doublings=0)
SWAP = np.asarray(AE.skeleton.mirror_permutation)


def given_maps(heatmap, tags):
    """Stands for AE's network: its maps of both passes, the second mirrored back."""

    def network_sees(maps):
        direct, back = (np.moveaxis(x.astype(np.float32), 0, -1) for x in maps)
        return jnp.asarray(np.stack([direct, back[:, ::-1][..., SWAP]]))

    return lambda images: TaggedHeatmaps((network_sees(heatmap),), network_sees(tags))


def read_maps(case):
    figures = golden("baselines/ae/ae_group_coco.npz")
    own = {k.removeprefix(f"c{case}_"): v for k, v in figures.items() if k.startswith(f"c{case}_")}
    width, height = own["base_wh"]
    frames = FrameBatch((jnp.zeros((1, height, width, 3), jnp.uint8),), jnp.zeros((1, 2, 3)))
    net = given_maps(own["heat_direct_flipback_khw"], own["tags_direct_flipback_khw"])
    return own, net, frames


@pytest.mark.parametrize("case", range(3))
def test_maps_are_projected_as_by_the_reference(case):
    figures, net, frames = read_maps(case)
    heatmap, tags = jax.jit(lambda: AE.maps(net, frames, HigherHRNetInference()))()
    step = heatmap.shape[2] // figures["heat_projected_sub"].shape[1]
    np.testing.assert_allclose(
        heatmap[0, :, ::step, ::step], figures["heat_projected_sub"], rtol=0, atol=1e-5
    )
    ours = np.moveaxis(np.asarray(tags[0]), 1, -1)[:, ::step, ::step]
    np.testing.assert_allclose(ours, figures["tags_projected_sub"], rtol=0, atol=1e-5)


@pytest.mark.parametrize(("case", "own"), [(0, True), (1, True), (0, False), (2, False)])
def test_people_of_given_maps_are_the_references(case, own, monkeypatch):
    """Also from candidates of its own, where no peak lies at the border.

    Enlarged four times, the two outermost rows are the same: the reference's peaks there may be
    either of them.
    """
    figures, net, frames = read_maps(case)
    if not own:
        yx = jnp.asarray(figures["topk_xy"][..., ::-1], jnp.int32)
        recorded = Candidates(yx, *(jnp.asarray(figures[f"topk_{x}"]) for x in ("val", "tag")))
        monkeypatch.setattr("pinet_jax.tag_decoding.find_candidates", lambda *_: recorded)
    inference = HigherHRNetInference()
    found = jax.device_get(jax.jit(lambda: AE.poses(net, frames, inference)["final"])())
    mask = found.mask[0]
    best = np.argsort(-figures["scores"], kind="stable")[: mask.size]
    assert mask.sum() == len(best)
    expected = figures["refined"][best]
    np.testing.assert_allclose(found.scores[0][mask], figures["scores"][best], rtol=1e-3)
    ours = found.keypoints[0][mask]
    np.testing.assert_allclose(ours[..., :2], expected[..., :2], rtol=0, atol=0.05)
    np.testing.assert_allclose(ours[..., 2], expected[..., 2], rtol=1e-3, atol=1e-6)


def random_maps(rng, shape=(17, 40, 56)):
    """Smooth maps: every keypoint is found in some places, with tags of a few people."""
    small = rng.normal(size=(shape[0], 10, 14))
    heatmap = jax.image.resize(small, shape, "cubic").astype(np.float32)
    tags = jax.image.resize(rng.normal(size=(shape[0], 2, 5, 7)) * 2, (17, 2, *shape[1:]), "cubic")
    return np.array(heatmap), np.array(tags.astype(np.float32))


@functools.cache
def people_program():
    find = functools.partial(find_people, order=AE.order, config=GroupingConfig(), limit=40)
    return jax.jit(jax.vmap(find))


def test_people_of_random_maps_are_those_of_the_procedure_written_out():
    rng = np.random.default_rng(0)
    images = [random_maps(rng) for _ in range(2)]
    found = jax.device_get(people_program()(*map(np.stack, zip(*images, strict=True))))
    for i, maps in enumerate(images):
        people, scores = slow_grouping.find_people(*maps, AE.order)
        best = np.argsort(-scores, kind="stable")[:40]
        assert found.mask[i].sum() == len(best) > 5
        mask = found.mask[i]
        np.testing.assert_allclose(
            found.keypoints[i][mask], people[best, :, :3], rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(found.scores[i][mask], scores[best], rtol=1e-5)


def test_an_empty_map_has_nobody():
    empty = np.zeros((2, 17, 40, 56), np.float32), np.zeros((2, 17, 2, 40, 56), np.float32)
    assert not people_program()(*empty).mask.any()


def test_a_keypoint_moves_a_quarter_towards_the_higher_neighbour():
    heatmap = jnp.zeros((1, 3, 4)).at[0, 1, 2].set(1).at[0, 1, 3].set(0.5).at[0, 0, 2].set(0.5)
    np.testing.assert_allclose(adjust(heatmap, jnp.asarray([[1, 2]])), [[2.75, 1.25]])
    # At the edge the neighbour is the pixel itself; a tie goes left and up.
    np.testing.assert_allclose(adjust(heatmap, jnp.asarray([[2, 0]])), [[0.25, 2.25]])


def test_a_missing_keypoint_is_where_map_and_tags_agree():
    heatmap = jnp.zeros((2, 2, 3)).at[1, 0, 0].set(0.9).at[1, 1, 2].set(0.6)
    tags = jnp.zeros((2, 1, 2, 3)).at[1, 0, 0, 0].set(2.0)  # the higher one is somebody else's
    groups = Groups(
        yx=jnp.zeros((2, 2, 2), jnp.int32),
        scores=jnp.asarray([[0.5, 0.0], [0.0, 0.0]]),
        mask=jnp.asarray([True, False]),
    )
    yx, scores = fill_missing(heatmap, tags, groups)
    assert yx[0].tolist() == [[0, 0], [1, 2]]
    np.testing.assert_allclose(scores, [[0.5, 0.6], [0, 0]])


def test_the_best_groups_come_first_and_equal_ones_in_their_order():
    scores = jnp.asarray([[0.2, 0.2], [0.4, 0.4], [0.4, 0.4], [9.0, 9.0]])
    groups = Groups(jnp.arange(16).reshape(4, 2, 2), scores, jnp.asarray([True, True, True, False]))
    best = best_groups(groups, 3)
    np.testing.assert_allclose(best.scores[:, 0], [0.4, 0.4, 0.2])
    assert best.yx[:, 0, 0].tolist() == [4, 8, 0] and best.mask.all()
