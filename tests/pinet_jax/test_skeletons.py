"""Keypoint sets: consistent, readable from files, and refused by name where they are not."""

import json

import numpy as np
import pytest

from pinet_jax.errors import InputError
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Part, Skeleton
from tests.conftest import golden

BOTH = pytest.mark.parametrize("skeleton", [COCO_17, CROWDPOSE_14], ids=lambda s: s.name)


@BOTH
def test_the_mirror_is_its_own_inverse_and_swaps_left_and_right(skeleton):
    permutation = np.array(skeleton.mirror_permutation)
    np.testing.assert_array_equal(permutation[permutation], np.arange(skeleton.num_keypoints))
    for k, name in enumerate(skeleton.keypoints):
        swapped = name.replace("left", "?").replace("right", "left").replace("?", "right")
        assert skeleton.keypoints[permutation[k]] == swapped


@BOTH
def test_edges_are_mirror_symmetric(skeleton):
    permutation = skeleton.mirror_permutation
    edges = {frozenset(edge) for edge in skeleton.edges}
    assert {frozenset(permutation[k] for k in edge) for edge in edges} == edges


@pytest.mark.parametrize(
    "skeleton, file", [(COCO_17, "network_ochuman.npz"), (CROWDPOSE_14, "network_crowdpose.npz")]
)
def test_the_graph_is_the_references(skeleton, file):
    np.testing.assert_allclose(
        skeleton.normalized_adjacency(), golden(file)["adjacency"], atol=1e-7
    )


def test_partitions_are_the_papers():
    sizes = {name: len(parts) for name, parts in COCO_17.partitions}
    assert sizes == {"head": 1, "part-large": 3, "part-small": 6, "keypoint": 13}
    large = dict(CROWDPOSE_14.partition("part-large"))
    assert large == {"head": (12, 13), "body": (0, 1, 6, 7), "leg": (6, 7, 8, 9, 10, 11)}
    assert COCO_17.partition("center") == (Part("center", tuple(range(17))),)


@BOTH
def test_a_file_gives_the_skeleton_back(skeleton, tmp_path):
    (tmp_path / "skeleton.json").write_text(json.dumps(skeleton.to_json()))
    assert Skeleton.from_json(tmp_path / "skeleton.json") == skeleton


@pytest.mark.parametrize(
    "change, message",
    [
        ({"sigmas": [0.1]}, "1 sigmas for 14 keypoints"),
        ({"sigmas": [0.0] * 14}, "positive"),
        ({"edges": [["head", "tail"]]}, "'tail' is not among its keypoints"),
        ({"keypoints": ["head"] * 14}, "twice"),
        ({"mirror_pairs": [["head", "neck"], ["head", "left_hip"]]}, "two mirror pairs"),
        ({"partitions": {"mine": {"empty": []}}}, "empty part"),
        ({"partitions": [1]}, "wrong form"),
    ],
)
def test_a_bad_file_is_refused_by_name(change, message, tmp_path):
    path = tmp_path / "mine.json"
    content = {**CROWDPOSE_14.to_json(), "partitions": {}, **change}
    if "keypoints" in change:
        content |= {"edges": [], "mirror_pairs": []}
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"mine\.json.*{message}") as error:
        Skeleton.from_json(path)
    assert "\n" not in str(error.value)


def test_what_is_no_skeleton_file_is_refused(tmp_path):
    for content in ("not json", "[1, 2]", "{}"):
        path = tmp_path / "mine.json"
        path.write_text(content)
        with pytest.raises(InputError, match=r"mine\.json"):
            Skeleton.from_json(path)
    with pytest.raises(InputError, match=r"absent\.json"):
        Skeleton.from_json(tmp_path / "absent.json")


def test_an_unknown_partition_is_refused():
    with pytest.raises(InputError, match=r"no partition 'whole'.*part-large"):
        COCO_17.partition("whole")
