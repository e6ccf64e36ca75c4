"""A network that starts from another one: its backbone, or what fits."""

import dataclasses

import jax
import numpy as np
import pytest

from pinet_jax.checkpoints import save_model
from pinet_jax.errors import InputError
from pinet_jax.interop.model_files import write_model_file
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.skeletons import COCO_17, Skeleton
from pinet_jax.warm_start import with_backbone, with_what_fits
from tests.tiny import BACKBONE

CORNERS = Skeleton(
    name="corners",
    keypoints=("a", "b", "c", "d"),
    mirror_pairs=(),
    sigmas=(0.05,) * 4,
    edges=((0, 1), (1, 2), (2, 3), (3, 0)),
)
THEIRS = PINet(COCO_17, backbone=BACKBONE, refinement=RefinementConfig(blocks=1))
OURS = dataclasses.replace(THEIRS, skeleton=CORNERS, partition="center")


@pytest.fixture(scope="module")
def trained():
    return init_variables(THEIRS, seed=1)


@pytest.fixture(scope="module")
def fresh():
    return init_variables(OURS, seed=2)


@pytest.fixture(scope="module", params=["checkpoint", "a.safetensors", "a.npz"])
def source(request, trained, tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / request.param
    if path.suffix:
        write_model_file(path, THEIRS, trained)
    else:
        save_model(path, THEIRS, trained)
    return path


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


def test_the_backbone_of_any_network_is_taken(source, trained, fresh):
    started = with_backbone(fresh, source, OURS)
    for collection in fresh:
        assert_same(started[collection]["backbone"], trained[collection]["backbone"])
        for layer in fresh[collection].keys() - {"backbone"}:
            assert_same(started[collection][layer], fresh[collection][layer])


def test_another_backbone_is_refused(source, trained):
    wide = dataclasses.replace(OURS, backbone=dataclasses.replace(BACKBONE, width=8))
    with pytest.raises(InputError) as caught:
        with_backbone(init_variables(wide), source, wide)
    assert str(source) in str(caught.value) and "\n" not in str(caught.value)


def test_what_fits_is_taken_and_the_rest_is_named(source, trained, fresh):
    started, anew, unused = with_what_fits(fresh, source, OURS)
    assert_same(started["params"]["backbone"], trained["params"]["backbone"])
    assert anew and not any(layer.startswith("backbone") for layer in anew)
    leaves = jax.tree_util.tree_leaves_with_path
    for (path, now), (_, before) in zip(leaves(started), leaves(fresh), strict=True):
        names = [key.key for key in path]
        assert np.shape(now) == np.shape(before)
        if np.array_equal(now, before) and names[1] != "backbone":
            continue
        theirs = trained
        for name in names:
            theirs = theirs[name]
        np.testing.assert_array_equal(now, theirs)
    assert bool(unused) == (source.suffix != ".npz")  # bare arrays do not say what they are


def test_what_is_no_network_is_one_line(fresh, tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(InputError, match=r"a\.npz: nothing of it fits the network"):
        with_what_fits(fresh, tmp_path / "a.npz", OURS)
    with pytest.raises(InputError, match="nothing: not a checkpoint"):
        with_backbone(fresh, tmp_path / "nothing", OURS)
