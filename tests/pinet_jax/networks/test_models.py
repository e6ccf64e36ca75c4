"""What holds for networks of any size, on micro ones."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks import graphs, initializers
from pinet_jax.networks.hrnet import W32, W48
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.pinet import PINetNetwork
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.networks.sampling import sample_bilinear
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton
from tests.tiny import MICRO

GRAPHS = [
    graphs.none,
    graphs.static,
    graphs.dynamic,
    graphs.dynamic_per_layer,
    graphs.fully_connected,
    graphs.nearest_neighbours,
    graphs.attention,
]

MINE = Skeleton(
    name="hand",
    keypoints=("wrist", "thumb", "finger"),
    mirror_pairs=(),
    sigmas=(0.1, 0.1, 0.1),
    edges=((0, 1), (0, 2)),
)


def count(config):
    leaves = jax.tree.leaves(abstract_variables(config)["params"])
    return sum(leaf.size for leaf in leaves)


@pytest.mark.parametrize(
    "config, millions",
    [
        (PINet(COCO_17), 31.70),
        (PINet(CROWDPOSE_14), 31.68),
        (PINet(COCO_17, refinement=RefinementConfig(blocks=2)), 31.23),
        (PINet(COCO_17, refinement=None), 29.36 - 0.06),  # the count holds classless heads
    ],
    ids=["ochuman", "crowdpose", "coco", "no refinement"],
)
def test_parameters_are_as_many_as_in_the_released_code(config, millions):
    tolerance = 0.07 if config.refinement is None else 0.005
    assert abs(count(config) / 1e6 - millions) < tolerance


def test_widths_follow_the_config():
    assert (W32.features, W48.features, MICRO.features) == (480, 720, 60)
    features = abstract_variables(PINet(COCO_17, backbone=W48))["params"]["ppg"]
    assert features["heatmap_head"]["kernel"].shape == (1, 1, 720, 17)


@pytest.mark.parametrize("partition", ["center", "head", "part-large", "part-small", "keypoint"])
@pytest.mark.parametrize("skeleton", [COCO_17, CROWDPOSE_14], ids=lambda s: s.name)
def test_every_partition_has_its_maps(skeleton, partition):
    config = PINet(skeleton, partition, MICRO, refinement=None)
    ppg = abstract_variables(config)["params"]["ppg"]
    parts = len(skeleton.partition(partition))
    assert ppg["detkptmap_head"]["bias"].shape == (parts,)
    assert ppg["offset_head"]["bias"].shape == (parts * skeleton.num_keypoints * 2,)


@functools.cache
def micro(graph):
    """A micro network's config, its variables, and a jitted `refine`."""
    config = PINet(COCO_17, backbone=MICRO, refinement=RefinementConfig(graph, blocks=1))

    @functools.partial(jax.jit, static_argnames="train")
    def refine(variables, *inputs, train):
        network = config.network(Compute(train=train))
        return nn.apply(PINetNetwork.refine, network, mutable=["batch_stats"])(variables, *inputs)

    return config, init_variables(config), refine


def poses_and_features(seed=0):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(1, 12, 10, MICRO.features)).astype(np.float32)
    poses = rng.uniform(0, 9, (1, 4, 17, 2)).astype(np.float32)
    return features, poses, rng.integers(0, 9, (1, 4, 2)).astype(np.int32)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda g: g.__name__)
def test_poses_are_refined_one_by_one(graph):
    _, variables, refine = micro(graph)
    features, poses, centers = poses_and_features()
    delta, _ = refine(variables, features, poses, centers, train=False)
    moved, _ = refine(variables, features, poses[:, ::-1], centers[:, ::-1], train=False)
    assert delta.shape == poses.shape
    np.testing.assert_allclose(moved[:, ::-1], delta, atol=1e-5)


@pytest.mark.parametrize(
    "graph, far_reaching",
    [(graphs.none, False), (graphs.dynamic, True), (graphs.attention, True)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_keypoints_influence_one_another_only_over_edges(graph, far_reaching):
    config, variables, _ = micro(graph)
    nodes = np.random.default_rng(1).normal(size=(1, 1, 17, MICRO.features)).astype(np.float32)
    changed = nodes.copy()
    changed[..., 0, :] += 1  # the nose
    arrays = variables["params"]["pr"]
    adjacency = [
        np.broadcast_to(
            graph(lambda name, *_: jnp.asarray(arrays[name]), config.skeleton, jnp.asarray(x), 0),
            (1, 1, 17, 17),
        )
        for x in (nodes, changed)
    ]
    difference = np.abs(adjacency[1] @ changed - adjacency[0] @ nodes).max(axis=(0, 1, 3))
    assert difference[0] > 0.01
    assert (difference[1] > 0.01) == far_reaching  # the left eye, one edge away


def test_masked_poses_count_in_no_statistics():
    _, variables, refine = micro(graphs.dynamic)
    features, poses, centers = poses_and_features()
    mask = np.array([[True, True, False, False]])
    _, masked = refine(variables, features, poses, centers, mask, train=True)
    _, alone = refine(variables, features, poses[:, :2], centers[:, :2], train=True)
    for actual, expected in zip(jax.tree.leaves(masked), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-6)


def test_a_graph_of_the_users_own_trains_its_own_array():
    def mine(param, skeleton, nodes, layer):
        del nodes, layer
        strength = param("strength", initializers.constant(0.5), (1, 1))
        return strength * jnp.ones((skeleton.num_keypoints,) * 2)

    config = PINet(MINE, "center", MICRO, RefinementConfig(mine))
    np.testing.assert_array_equal(init_variables(config)["params"]["pr"]["strength"], [[0.5]])


def test_the_first_variables_follow_the_references_rules():
    variables = init_variables(PINet(COCO_17), seed=3)
    params, statistics = variables["params"], variables["batch_stats"]
    kernel = params["backbone"]["stage4.2"]["branches.3.1"]["conv2"]["kernel"]
    assert abs(kernel.std() / 0.001 - 1) < 0.01 and abs(kernel.mean()) < 1e-5
    assert not params["ppg"]["offset_head"]["bias"].any()
    assert (params["backbone"]["bn1"]["scale"] == 1).all()
    assert (statistics["backbone"]["bn1"]["var"] == 1).all()
    graph = params["pr"]["gconv_layers.1.gconv2"]["conv"]
    bound = 1.414 * np.sqrt(6 / 960)
    assert 0.99 * bound < np.abs(graph["weight"]).max() <= bound
    assert 0.98 / np.sqrt(480) < np.abs(graph["bias"]).max() <= 1 / np.sqrt(480)
    predictor = params["pr"]["gconv_pred.0"]
    for array in predictor.values():
        assert 0.98 / np.sqrt(1440) < np.abs(array).max() <= 1 / np.sqrt(1440)
    np.testing.assert_array_equal(params["pr"]["adj"], COCO_17.normalized_adjacency())


def test_first_variables_have_the_networks_shapes_and_depend_on_the_seed():
    config = PINet(COCO_17, backbone=MICRO)
    first, second = init_variables(config, seed=0), init_variables(config, seed=1)
    shapes = jax.tree.map(lambda x: x.shape, abstract_variables(config))
    assert jax.tree.map(lambda x: x.shape, first) == shapes
    kernels = [v["params"]["backbone"]["conv1"]["kernel"] for v in (first, second)]
    assert not np.allclose(*kernels)
    np.testing.assert_array_equal(
        kernels[0], init_variables(config, seed=0)["params"]["backbone"]["conv1"]["kernel"]
    )


def test_configs_are_values():
    assert PINet() == PINet(COCO_17, "part-large", W32, RefinementConfig())
    assert hash(dataclasses.replace(PINet(), partition="head")) != hash(PINet())


def test_sampling_agrees_with_a_slow_reading():
    rng = np.random.default_rng(0)
    image = rng.normal(size=(5, 7, 3)).astype(np.float32)
    points = rng.uniform(-2, 8, (50, 2)).astype(np.float32)
    padded = np.pad(image, ((3, 5), (3, 5), (0, 0)))
    expected = []
    for x, y in points.astype(np.float64):
        column, row = int(np.floor(x)), int(np.floor(y))
        a, b = x - column, y - row
        cell = padded[row + 3 : row + 5, column + 3 : column + 5]
        expected.append(
            (1 - b) * ((1 - a) * cell[0, 0] + a * cell[0, 1])
            + b * ((1 - a) * cell[1, 0] + a * cell[1, 1])
        )
    np.testing.assert_allclose(sample_bilinear(image, points), expected, atol=1e-5)


def test_normalisation_is_imagenets():
    pixel = np.array([[[[255, 0, 128]]]], np.uint8)
    expected = (np.array([1, 0, 128 / 255]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalize(pixel)[0, 0, 0], expected, rtol=1e-6)
    np.testing.assert_array_equal(normalize(np.ones((1, 1, 1, 3), np.float32)), 1)


def test_init_gives_a_network_that_trains_and_is_drawn_by_the_same_rules():
    config = PINet(MINE, "center", MICRO, RefinementConfig(graphs.attention, blocks=1))
    image = jnp.zeros((1, 64, 64, 3))
    made = jax.jit(config.network().init)(jax.random.key(0), image)
    drawn = init_variables(config)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), made) == jax.tree.map(
        lambda x: (x.shape, x.dtype), drawn
    )
    for (path, ours), theirs in zip(
        jax.tree_util.tree_leaves_with_path(made), jax.tree.leaves(drawn), strict=True
    ):
        spread = (np.std(ours), np.std(theirs))
        many = ours.size >= 100
        np.testing.assert_allclose(*spread, rtol=0.4 if many else 1e9, err_msg=str(path))
        if not np.std(theirs):  # no random numbers in it
            np.testing.assert_array_equal(ours, theirs)


def test_layers_without_a_rule_are_named():
    class Unruly(nn.Module):
        @nn.compact
        def __call__(self, images):
            return nn.Conv(1, (1, 1), name="mine")(images)

    with pytest.raises(TypeError, match=r"params/mine/(bias|kernel): .*initializers"):
        initializers.draw_variables(Unruly())


def test_the_highest_resolution_alone_lacks_what_only_others_need():
    alone = dataclasses.replace(MICRO, concatenated=False)
    network = alone.module(Compute())
    names = initializers.abstract_variables(network)["params"]["stage4.0"]
    rows = {name.split(".")[1] for name in names if name.startswith("fuse_layers")}
    assert rows == {"0"} and alone.features == 4
    out = jax.eval_shape(
        network.apply,
        initializers.abstract_variables(network),
        jax.ShapeDtypeStruct((1, 64, 96, 3), np.float32),
    )
    assert out.shape == (1, 16, 24, 4)
    assert "stage4.0.fuse_layers.3." in alone.imagenet_extras
    assert all("fuse" not in extra for extra in MICRO.imagenet_extras)
