"""EfficientNet-Lite against a plain PyTorch twin, on random published-looking weights."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from pinet_jax.errors import InputError
from pinet_jax.interop.state_dict import replace_backbone, to_state_dict
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.efficientnet import LITE0, LITE2, EfficientNetLite, EfficientNetLiteConfig
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.layers import Compute, make_layers
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.training import Training, TrainingConfig

torch = pytest.importorskip("torch")
functional = torch.nn.functional

TINY = EfficientNetLiteConfig(width_factor=0.25, depth_factor=0.4, pyramid_width=8)


class _Encoder(EfficientNetLite):
    """The encoder's levels alone."""

    @nn.compact
    def __call__(self, images):
        return self._encoder(images, make_layers(self.compute))


@pytest.fixture(scope="module")
def published():
    """A state dict as the published ones are: with a head and a classifier."""
    method = PINet(backbone=TINY, refinement=None)
    rng = np.random.default_rng(0)
    state = {}
    for name, array in to_state_dict(init_variables(method), method).items():
        bare = name.removeprefix("backbone.")
        if not name.startswith("backbone._"):
            continue
        if name.endswith("running_var"):
            array = rng.uniform(0.5, 1.5, array.shape)
        elif array.ndim < 2:
            array = rng.normal(size=array.shape)
        else:
            array = rng.normal(size=array.shape) * math.sqrt(2 / np.prod(array.shape[1:]))
        state[bare] = np.asarray(array, np.float32)
    return state | {"_conv_head.weight": np.zeros((4, 4, 1, 1)), "_fc.bias": np.zeros(4)}


def _twin(state, x):
    """The levels of pixels [B, 3, H, W] in the published network's units."""
    state = {name: torch.tensor(np.asarray(array)).float() for name, array in state.items()}

    def convolve(x, weight, stride, groups=1):
        padding = []
        for side in (x.shape[3], x.shape[2]):
            total = max((math.ceil(side / stride) - 1) * stride + weight.shape[-1] - side, 0)
            padding += [total // 2, total - total // 2]
        return functional.conv2d(functional.pad(x, padding), weight, stride=stride, groups=groups)

    def norm(x, name):
        mean, var, scale, bias = (
            state[f"{name}.{leaf}"] for leaf in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, var, scale, bias, eps=1e-3)

    x = functional.relu6(norm(convolve(x, state["_conv_stem.weight"], 2), "_bn0"))
    levels, block = [], 0
    for i, stage in enumerate(TINY.stages()):
        for repeat in range(stage.repeats):
            name, y = f"_blocks.{block}.", x
            if name + "_expand_conv.weight" in state:
                y = convolve(y, state[name + "_expand_conv.weight"], 1)
                y = functional.relu6(norm(y, name + "_bn0"))
            weight = state[name + "_depthwise_conv.weight"]
            y = convolve(y, weight, 1 if repeat else stage.stride, len(weight))
            y = functional.relu6(norm(y, name + "_bn1"))
            y = norm(convolve(y, state[name + "_project_conv.weight"], 1), name + "_bn2")
            x = x + y if x.shape == y.shape else y
            block += 1
        if i in (1, 2, 4, 6):
            levels.append(x)
    return levels


def test_imagenet_weights_give_the_published_levels_of_a_photograph(published):
    method = PINet(backbone=TINY, refinement=None)
    variables = replace_backbone(init_variables(method), published, method)
    pixels = np.random.default_rng(1).integers(0, 256, (1, 64, 96, 3)).astype(np.float32)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    ours = ((pixels / 255 - mean) / std).astype(np.float32)
    backbone = {name: tree["backbone"] for name, tree in variables.items()}
    levels = jax.jit(_Encoder(TINY).apply)(backbone, jnp.asarray(ours))
    expected = _twin(published, torch.tensor((pixels - 127) / 128).permute(0, 3, 1, 2))
    for level, twin in zip(levels, expected, strict=True):
        twin = twin.permute(0, 2, 3, 1).numpy()
        scale = np.abs(twin).max()
        # Beyond the lower and right border both see zeros, which are different colours.
        inner = slice(None), slice(0, level.shape[1] // 2), slice(0, level.shape[2] // 2)
        if level.shape[1] >= 8:
            np.testing.assert_allclose(level[inner], twin[inner], atol=2e-4 * scale)
        assert level.shape == twin.shape


def test_the_pyramid_keeps_its_start_where_imagenet_weights_come_in(published):
    method = PINet(backbone=TINY, refinement=None)
    before = init_variables(method)
    after = replace_backbone(before, published, method)
    for name in ("merge.0.0", "lateral.3.0"):
        np.testing.assert_array_equal(
            after["params"]["backbone"][name]["kernel"],
            before["params"]["backbone"][name]["kernel"],
        )


def test_weights_of_another_network_are_refused_by_name(published):
    method = PINet(backbone=TINY, refinement=None)
    short = {n: a for n, a in published.items() if n != "_blocks.0._project_conv.weight"}
    with pytest.raises(InputError, match=r"missing \[backbone\._blocks\.0\._project_conv\.weight"):
        replace_backbone(init_variables(method), short, method)


def test_published_sizes():
    """Lite0 has 4,652,008 parameters, Lite2 6,092,072; head and classifier are left out here."""
    for config, everything, last in ((LITE0, 4_652_008, 320), (LITE2, 6_092_072, 352)):
        tree = abstract_variables(PINet(backbone=config))["params"]["backbone"]
        encoder = {name: layer for name, layer in tree.items() if name.startswith("_")}
        count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(encoder))
        assert count == everything - (last * 1280 + 2 * 1280 + 1280 * 1000 + 1000)


def test_folding_and_rematerialisation_change_nothing(published):
    method = PINet(backbone=TINY, refinement=None)
    variables = replace_backbone(init_variables(method), published, method)
    images = jnp.asarray(np.random.default_rng(2).normal(size=(2, 64, 64, 3)), jnp.float32)
    plain = jax.jit(method.network(Compute()).apply)(variables, images)
    folded = jax.jit(method.network(Compute(folded=True)).apply)(fold_batch_norm(variables), images)
    remat = jax.jit(method.network(Compute(remat=True)).apply)(variables, images)
    assert plain.features.shape == (2, 16, 16, TINY.features)
    scale = np.abs(plain.features).max()
    np.testing.assert_allclose(folded.features, plain.features, atol=1e-5 * scale)
    np.testing.assert_allclose(remat.features, plain.features, atol=1e-5 * scale)


def test_muon_leaves_depthwise_kernels_to_adam():
    method = PINet(backbone=TINY, refinement=None)
    config = TrainingConfig(optimizer=OptimizerConfig(method="muon"))
    state = Training.make(method, config, 1).init_state(init_variables(method))
    shapes = {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.opt_state)
    }
    moved = [name for name, leaf in shapes.items() if "muon" in name and leaf.ndim > 1]
    assert any("_project_conv" in name for name in moved)
    assert not any("_depthwise_conv" in name for name in moved)
