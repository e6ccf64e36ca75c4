"""How long the flip test takes, stage by stage."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.timing import Seconds, time_in_turns
from experiments.benchmarks.yardstick import timm_forward
from pinet_jax import decoding, fusion
from pinet_jax.frames import FrameBatch
from pinet_jax.inference import infer
from pinet_jax.methods.base import init_variables
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.poses import PoseSet
from pinet_jax.runtime import compiler_options

CANDIDATES = 90  # 30 peaks of each of three parts
FUSION_BATCH = 8


def measure_inference(
    config: PINet, *, size: int = 512, batch: int = 1, rounds: int = 7
) -> dict[str, Seconds]:
    """Times the flip test of `batch` square images, its stages, and the yardstick.

    Args:
        config: the network.
        size: of the images, in pixels.
        batch: images at once.
        rounds: of which the median and the best are taken.

    Returns:
        By name; the yardstick only where `timm` is installed.
    """
    model = config.network(Compute(folded=True))
    variables = jax.device_put(fold_batch_norm(busy_variables(config)))
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.integers(0, 256, (batch, size, size, 3), dtype=np.uint8))
    inputs = normalize(jnp.concatenate([image, image]))
    features, maps = _compiled(model.apply)(variables, inputs)
    both = _peaks(maps.part_map)
    poses = jnp.asarray(
        rng.uniform(0, size / 4, (*both.shape[:2], config.skeleton.num_keypoints, 2))
    )
    poses = poses.astype(jnp.float32)

    whole = _compiled(functools.partial(infer, config, PINetInference(input_size=size)))
    frames = FrameBatch((image,), jnp.zeros((batch, 2, 3)))
    network = _compiled(lambda v, x: _without_offsets(model.apply(v, x)))
    decode = _compiled(lambda part_map: _peaks(part_map))
    refine = _compiled(functools.partial(model.apply, method="refine"))
    fuse, candidates = fusion_of_crowds(batch, config)
    calls: dict[str, Callable[[], Any]] = {
        f"whole flip test, {batch} x {size}": lambda: whole(variables, frames),
        "  network, image and mirror": lambda: network(variables, inputs),
        "  peaks": lambda: decode(maps.part_map),
        "  refinement": lambda: refine(variables, features, poses, both),
        "  fusion": lambda: fuse(candidates),
    }
    yardstick = timm_forward(2 * batch, size) if config.backbone == PINet().backbone else None
    if yardstick is not None:
        calls["timm's HRNet-W32 in PyTorch, image and mirror"] = yardstick
    return time_in_turns(calls, rounds)


def measure_fusion(config: PINet, *, rounds: int = 200) -> Seconds:
    """Times the fusion of 90 candidates, an image of a batch of 8."""
    fuse, candidates = fusion_of_crowds(FUSION_BATCH, config)
    seconds = time_in_turns({"fusion": lambda: fuse(candidates)}, rounds)["fusion"]
    return Seconds(seconds.median / FUSION_BATCH, seconds.best / FUSION_BATCH)


def busy_variables(config: PINet) -> Variables:
    """First variables with larger kernels, so that activations neither vanish nor overflow.

    Of a fresh network they fall below the smallest normal float, whose arithmetic has a time of
    its own.
    """
    variables = init_variables(config)
    rng = np.random.default_rng(0)

    def enlarged(path: Any, array: np.ndarray) -> np.ndarray:
        if path[-1].key == "scale":
            return np.full_like(array, 0.5)
        if path[-1].key != "kernel":
            return array
        spread = np.sqrt(2 / array[..., 0].size)
        return (spread * rng.standard_normal(array.shape)).astype(np.float32)

    return {**variables, "params": jax.tree_util.tree_map_with_path(enlarged, variables["params"])}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return jax.jit(function, compiler_options=compiler_options(jax.default_backend()))


def _without_offsets(outputs: Any) -> Any:
    """What the flip test needs of whole maps; XLA leaves the rest out."""
    return outputs.features, outputs.maps.heatmap, outputs.maps.part_map


def _peaks(part_map: jax.Array) -> jax.Array:
    yx = decoding.find_peaks(part_map).yx
    return yx.reshape(yx.shape[0], -1, 2)


def fusion_of_crowds(batch: int, config: PINet) -> tuple[Callable[[PoseSet], PoseSet], PoseSet]:
    """The fusion, and crowds of 18 people with five candidates each."""
    skeleton = config.skeleton
    rng = np.random.default_rng(0)
    people = rng.uniform(0, 500, (batch, CANDIDATES // 5, 1, 1, 2))
    people = people + rng.uniform(0, 100, (batch, CANDIDATES // 5, 1, skeleton.num_keypoints, 2))
    points = people + rng.normal(size=(batch, CANDIDATES // 5, 5, skeleton.num_keypoints, 2)) * 2
    scores = rng.uniform(0, 1, (*points.shape[:-1], 1))
    keypoints = np.concatenate([points, scores], -1).astype(np.float32)
    keypoints = keypoints.reshape(batch, CANDIDATES, skeleton.num_keypoints, 3)
    mask = jnp.ones(keypoints.shape[:2], bool)
    candidates = PoseSet(jnp.asarray(keypoints), jnp.asarray(keypoints[..., 2].mean(-1)), mask)

    def fuse(poses: PoseSet) -> PoseSet:
        return fusion.fuse_groups(fusion.group_poses(poses, skeleton.sigmas))

    return jax.jit(jax.vmap(fuse)), candidates
