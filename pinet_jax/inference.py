"""Images in, poses out: one compiled program for every input size.

Legend for shapes: B images, K keypoints, N poses, S parts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pinet_jax import decoding, fusion
from pinet_jax.errors import InputError, UsageError
from pinet_jax.fusion import PoseSet
from pinet_jax.models.config import PINetConfig
from pinet_jax.models.folding import fold_batch_norm
from pinet_jax.models.pinet import Outputs, PINet, Variables, normalize
from pinet_jax.models.pose_generation import Maps
from pinet_jax.models.refinement import take_positions
from pinet_jax.resizing import resize, resized_shape, restore_points

STRIDE = 4  # input pixels a feature-map pixel


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """How images are tested; as it stands, as in the paper's tables."""

    input_size: int = 512  # pixels of the short side
    scales: tuple[float, ...] = (1.0,)  # multiples of 0.5; 1 is always among them
    flip: bool = True  # average with the mirrored image
    refinement: bool = True  # PR; otherwise poses stay as the offsets give them
    fusion: bool = True  # PF; otherwise the best pose of every group is kept as it is
    oks_threshold: float = 0.7  # above it two poses are one person's
    # Of the scores at other scales than 1. The released code names it without a value; 0.9 is its
    # sister project's for COCO, 0.8 for CrowdPose.
    scale_decrease: float = 0.9
    bfloat16: bool = False  # compute of backbone and graph; an accelerator is faster with it

    def __post_init__(self) -> None:
        """Refuses values that no input fits."""
        if self.input_size < 1:
            raise UsageError(f"--input-size {self.input_size}: use a positive number of pixels")
        if 1.0 not in self.scales or len(set(self.scales)) != len(self.scales):
            raise UsageError(f"--scales {self.scales}: name each scale once, and 1 among them")
        if any(scale <= 0 or scale * 2 != int(scale * 2) for scale in self.scales):
            raise UsageError(f"--scales {self.scales}: use multiples of 0.5, such as 0.5 1 2")


@dataclasses.dataclass(frozen=True)
class Poses:
    """The poses of one image, best first.

    Attributes:
        keypoints: float32 [N, K, 3], x and y in the image's pixels, and score.
        scores: float32 [N].
    """

    keypoints: np.ndarray
    scores: np.ndarray


class Stages(NamedTuple):
    """Poses as they come to be, in pixels of the input at scale 1.

    Attributes:
        coarse: as the offsets give them; [B, N, K, 3] and so on.
        refined: after pose refinement; without it, the coarse ones.
        final: after pose fusion (or without it, the best of every group).
    """

    coarse: PoseSet
    refined: PoseSet
    final: PoseSet


class _ScaleResult(NamedTuple):
    """What one scale gives, in its own feature-map pixels."""

    heatmap: jax.Array  # [B, h, w, K]
    coarse: jax.Array  # [B, S * N, K, 2]
    refined: jax.Array
    scores: jax.Array  # [B, S * N]
    mask: jax.Array


def infer(
    model: PINet, config: InferenceConfig, variables: Variables, images: Sequence[jax.Array]
) -> Stages:
    """The whole test procedure on resized images; pure, and static in shape.

    Args:
        model: the network.
        config: the procedure.
        variables: of the network.
        images: for every scale uint8 [B, H * scale, W * scale, 3].

    Returns:
        Poses of every stage.
    """
    scales = sorted(zip(config.scales, images, strict=True), key=lambda pair: -pair[0])
    results = {scale: _infer_scale(model, config, variables, x) for scale, x in scales}
    _, height, width, _ = images[config.scales.index(1.0)].shape
    scores = jnp.concatenate(_comparable_scores(results, config.scale_decrease), axis=1)
    mask = jnp.concatenate([r.mask for r in results.values()], axis=1)

    def pose_set(points: Sequence[jax.Array]) -> PoseSet:
        enlarged = [p * (STRIDE / scale) for p, scale in zip(points, results, strict=True)]
        pixels = jnp.concatenate(enlarged, axis=1)  # [B, N, K, 2]
        keypoint_scores = scores[..., None] * _read_heatmaps(results, pixels, height, width)
        keypoints = jnp.concatenate([pixels, keypoint_scores[..., None]], axis=-1)
        return PoseSet(keypoints, keypoint_scores.mean(axis=-1), mask)

    refined = pose_set([r.refined for r in results.values()])
    final = functools.partial(_fuse, config=config, sigmas=model.config.skeleton.sigmas)
    return Stages(pose_set([r.coarse for r in results.values()]), refined, jax.vmap(final)(refined))


def _infer_scale(
    model: PINet, config: InferenceConfig, variables: Variables, images: jax.Array
) -> _ScaleResult:
    """Image and mirrored image, if any, go through the network as one batch."""
    batch = images.shape[0]
    inputs = normalize(images)
    if config.flip:
        inputs = jnp.concatenate([inputs, decoding.mirror_images(inputs)])
    features, maps = cast(Outputs, model.apply(variables, inputs))
    width = features.shape[2]
    swap = model.config.skeleton.mirror_permutation

    heatmap, part_map = maps.heatmap[:batch], maps.part_map[:batch]
    if config.flip:
        mirrored = maps.heatmap[batch:, :, ::-1][..., np.asarray(swap)]
        heatmap = (heatmap + mirrored) / 2
        part_map = (part_map + maps.part_map[batch:, :, ::-1]) / 2

    peaks = decoding.find_peaks(part_map)
    yx = peaks.yx
    if config.flip:
        yx = jnp.concatenate([yx, jnp.stack([yx[..., 0], width - 1 - yx[..., 1]], axis=-1)])
    centers = _flat(yx, 1)  # [B or 2B, S * N, 2]
    # Offsets are wanted at the peaks alone; with the maps' own unused, XLA leaves them out.
    there = take_positions(features, centers)[:, None]
    offset = cast(Maps, model.apply(variables, there, method="generate")).offset
    poses = decoding.read_poses(offset.reshape(*yx.shape[:3], -1), yx)
    coarse = refined = _flat(poses, 2)
    if model.config.refinement is not None and config.refinement:
        delta = model.apply(variables, features, coarse, centers, method="refine")
        refined = coarse - cast(jax.Array, delta)

    def averaged(poses: jax.Array) -> jax.Array:
        if not config.flip:
            return poses
        return (poses[:batch] + decoding.mirror_poses(poses[batch:], width, swap)) / 2

    return _ScaleResult(
        heatmap, averaged(coarse), averaged(refined), _flat(peaks.scores, 0), _flat(peaks.mask, 0)
    )


def _flat(x: jax.Array, trailing: int) -> jax.Array:
    """[B, S, N, ...] -> [B, S * N, ...], with so many axes behind."""
    kept = x.shape[x.ndim - trailing :]
    return x.reshape(x.shape[0], -1, *kept)


def _comparable_scores(results: dict[float, _ScaleResult], decrease: float) -> list[jax.Array]:
    """Pose scores; those of other scales are brought to scale 1's range, and a little below."""

    def highest(result: _ScaleResult) -> jax.Array:  # [B, 1]
        scores = jnp.where(result.mask, result.scores, -jnp.inf).max(axis=1, keepdims=True)
        return jnp.where(result.mask.any(axis=1, keepdims=True), scores, 1)

    top = highest(results[1.0])
    return [
        result.scores if scale == 1.0 else result.scores / highest(result) * top * decrease
        for scale, result in results.items()
    ]


def _read_heatmaps(
    results: dict[float, _ScaleResult], pixels: jax.Array, height: int, width: int
) -> jax.Array:
    """The mean of all scales' heatmaps at keypoints; zero where a neighbouring pixel is outside.

    Args:
        results: of every scale.
        pixels: [B, N, K, 2], of the input at scale 1.
        height: of that input.
        width: of that input.
    """
    read = [
        jax.vmap(decoding.read_heatmap)(result.heatmap, pixels * (scale / STRIDE))
        for scale, result in results.items()
    ]
    # Integer parts are cut off toward zero, as in the reference: -0.9 has the neighbour 0.
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x > -1) & (x < width - 1) & (y > -1) & (y < height - 1)
    return jnp.where(inside, sum(read) / len(read), 0)


def _fuse(poses: PoseSet, *, config: InferenceConfig, sigmas: tuple[float, ...]) -> PoseSet:
    groups = fusion.group_poses(poses, sigmas, config.oks_threshold)
    return fusion.fuse_groups(groups) if config.fusion else fusion.leaders(groups)


class Predictor:
    """A network ready for images of any size.

    Every input size and batch size compiles once. The variables live on the devices, with their
    normalisations folded into the convolutions. Of several devices each works on its own images of
    a batch, and asks nothing of the others.
    """

    def __init__(
        self,
        model_config: PINetConfig,
        variables: Variables,
        inference: InferenceConfig | None = None,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Folds the variables and puts them on the devices.

        Args:
            model_config: the network.
            variables: its "params" and "batch_stats".
            inference: the test procedure.
            devices: of this process, to share every batch; the first one alone if None.
        """
        self.inference = inference or InferenceConfig()
        self.skeleton = model_config.skeleton
        dtype = jnp.bfloat16 if self.inference.bfloat16 else jnp.float32
        model = PINet(model_config, folded=True, dtype=dtype)
        mesh = Mesh(np.array(devices or jax.local_devices()[:1]), ("data",))
        self._num_devices = mesh.size
        self._everywhere = NamedSharding(mesh, P())
        self._by_image = NamedSharding(mesh, P("data"))
        self.use(variables)
        program = functools.partial(infer, model, self.inference)
        self._program = jax.jit(
            jax.shard_map(program, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")),
            compiler_options=cpu_compiler_options(),
        )

    def use(self, variables: Variables) -> None:
        """Takes other variables of the same network; nothing is compiled anew."""
        self._variables = jax.device_put(fold_batch_norm(variables), self._everywhere)

    def predict(self, image: np.ndarray) -> Poses:
        """The poses of one image, uint8 RGB [H, W, 3]."""
        return self.predict_batch([image])[0]

    def predict_batch(
        self, images: Sequence[np.ndarray], batch_size: int | None = None
    ) -> list[Poses]:
        """The poses of images that share a `resized_shape`.

        Args:
            images: uint8 RGB [H, W, 3].
            batch_size: to which the batch is padded; as many as there are images if None.

        Returns:
            An image's poses, best first, in its own pixels.
        """
        return [stages["final"] for stages in self.predict_stages(images, batch_size)]

    def predict_stages(
        self, images: Sequence[np.ndarray], batch_size: int | None = None
    ) -> list[dict[str, Poses]]:
        """As `predict_batch`, with the poses of every stage: coarse, refined, final."""
        shapes = [(image.shape[0], image.shape[1]) for image in images]
        return self.predict_prepared(self.prepare(images, batch_size), shapes)

    def predict_prepared(
        self, inputs: Sequence[np.ndarray], image_shapes: Sequence[tuple[int, int]]
    ) -> list[dict[str, Poses]]:
        """As `predict_stages`, of images that `prepare` resized, in another thread perhaps.

        Args:
            inputs: from `prepare`.
            image_shapes: height and width of every image that is no padding.
        """
        stages = self.run(inputs)
        shape = inputs[self.inference.scales.index(1.0)].shape[1:3]
        return [
            {
                name: _image_poses(jax.tree.map(lambda x, i=i: x[i], poses), shape, image_shape)
                for name, poses in stages._asdict().items()
            }
            for i, image_shape in enumerate(image_shapes)
        ]

    def run(self, inputs: Sequence[np.ndarray]) -> Stages:
        """The compiled program alone: `prepare`'s inputs to padded poses, NumPy arrays."""
        placed = jax.device_put(list(inputs), self._by_image)
        return jax.device_get(self._program(self._variables, placed))

    def prepare(
        self, images: Sequence[np.ndarray], batch_size: int | None = None
    ) -> list[np.ndarray]:
        """Resizes and stacks images that share a `resized_shape`.

        Returns:
            For every scale uint8 [B, h, w, 3]; B is `batch_size`, and more where the devices could
            not share it evenly.

        Raises:
            InputError: the images do not share a shape, or are more than `batch_size`.
        """
        size = self.inference.input_size
        shapes = {resized_shape(x.shape[0], x.shape[1], size) for x in images}
        if len(shapes) != 1:
            raise InputError(f"a batch takes images of one resized shape, not of {sorted(shapes)}")
        ((height, width),) = shapes
        batch_size = batch_size or len(images)
        if len(images) > batch_size:
            raise InputError(f"{len(images)} images are more than the batch size {batch_size}")
        padding = -(-batch_size // self._num_devices) * self._num_devices - len(images)
        inputs = []
        for scale in self.inference.scales:
            shape = int(height * scale), int(width * scale)
            stack = np.stack([resize(image, shape) for image in images])
            inputs.append(np.pad(stack, ((0, padding), (0, 0), (0, 0), (0, 0))))
        return inputs


def default_batch_size(devices: Sequence[jax.Device]) -> int:
    """Images at a time that keep devices busy: one each on CPUs, eight elsewhere."""
    return sum(1 if device.platform == "cpu" else 8 for device in devices)


def cpu_compiler_options() -> dict[str, str]:
    """Options for a network's programs: on a CPU, XLA's fusion keeps to `layers.materialized`."""
    if jax.default_backend() != "cpu":
        return {}
    # The pass that takes optimization barriers out, and does so before fusion.
    return {"xla_disable_hlo_passes": "cse_barrier_expander"}


def _image_poses(poses: PoseSet, shape: tuple[int, int], image_shape: tuple[int, int]) -> Poses:
    keypoints = np.asarray(poses.keypoints)[np.asarray(poses.mask)]
    points = restore_points(keypoints[..., :2], shape, image_shape)
    restored = np.concatenate([points, keypoints[..., 2:]], axis=-1)
    return Poses(restored.astype(np.float32), np.asarray(poses.scores)[np.asarray(poses.mask)])
