"""DEKR: whole poses from offsets at people's centres, one branch of adaptive convolutions a joint.

Legend for shapes: B frames, a map of h x w positions, N candidates of a scale, K keypoints,
P people (padded).

References:
    Geng et al., Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression, CVPR 2021,
    and its released code.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax import decoding, fusion, losses
from pinet_jax.errors import UsageError
from pinet_jax.frames import STRIDE, FrameBatch
from pinet_jax.interop.layouts import Entry, one_array, torch_entry
from pinet_jax.keypoint_suppression import suppress_coinciding
from pinet_jax.methods.base import (
    Batch,
    BottomUp,
    BottomUpInference,
    CountedModule,
    InferenceConfig,
    Stages,
    check_share,
)
from pinet_jax.networks.adaptive_convolution import TAPS
from pinet_jax.networks.dekr import DEKRNetwork
from pinet_jax.networks.heads import Maps
from pinet_jax.networks.hrnet import W32, HRNetConfig
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.rescoring import RescoringConfig
from pinet_jax.poses import PoseSet
from pinet_jax.skeletons import COCO_17, Skeleton
from pinet_jax.targets import SMALL_AREA, Targets, on_map, part_points, render_maps

_MOST_POSES = 30  # of an image


@dataclasses.dataclass(frozen=True)
class DEKRInference(BottomUpInference):
    """The test procedure; by default that of the released COCO config at one scale."""

    # Within it keypoints coincide, as a share of the pose's diagonal; 0.15 at several scales.
    coincidence: float = 0.05
    keypoints: int = 8  # poses of which more keypoints coincide are one person's; CrowdPose: 7
    scale_decrease: float = 0.9  # of the scores at other scales than 1; CrowdPose: 0.8
    fusion: bool = False  # PINet's pose fusion in place of suppression
    oks_threshold: float = 0.7  # of the fusion: above it two poses are one person's

    def __post_init__(self) -> None:
        """Refuses values that no test can have.

        Raises:
            UsageError: with the field's name and value.
        """
        super().__post_init__()
        check_share("oks_threshold", self.oks_threshold)


@dataclasses.dataclass(frozen=True)
class DEKR(BottomUp):
    """The method; by default the paper's for COCO, without the network that scores poses.

    That network is trained afterwards, on the detections of the first, and has a file of its own.
    """

    inference_type: ClassVar[type[InferenceConfig]] = DEKRInference
    stages: ClassVar[tuple[str, ...]] = ("candidates", "final")
    output_layers: ClassVar[tuple[str, ...]] = ("head_heatmap.1", "offset_final_layer", "rescoring")

    skeleton: Skeleton = COCO_17
    backbone: HRNetConfig = W32  # the heatmaps' head is as wide as its highest branch
    offset_channels: int = 15  # of a keypoint's branch
    offset_blocks: int = 2  # adaptive convolutions of a branch
    rescoring: RescoringConfig | None = None
    # Frame pixels; smaller people have no centre. CrowdPose has no such rule: 0.
    min_center_area: float = SMALL_AREA
    # Map pixels. On CrowdPose the released code falls back to the keypoints' 2.
    center_sigma: float = 4.0
    offset_radius: int = 4  # offsets are trained in windows of twice this side
    heatmap_factor: float = 1.0  # of the heatmaps' loss
    offset_factor: float = 0.03  # of the offsets' loss

    def __post_init__(self) -> None:
        """Refuses what contradicts itself.

        Raises:
            UsageError: with the field's name and value.
        """
        if self.offset_blocks < 1:
            raise UsageError(f"offset_blocks {self.offset_blocks}: use 1 or more")
        links = () if self.rescoring is None else self.rescoring.links
        last = max((end for link in links for end in link), default=-1)
        if last >= self.skeleton.num_keypoints:
            raise UsageError(
                f"rescoring.links name keypoint {last}, but {self.skeleton.name} has "
                f"{self.skeleton.num_keypoints}; use the links of its own keypoints"
            )

    def network(self, compute: Compute = Compute()) -> DEKRNetwork:
        """Backbone, heatmaps, offsets and, if there is any, rescoring."""
        return DEKRNetwork(
            self.skeleton.num_keypoints,
            self.backbone,
            self.offset_channels,
            self.offset_blocks,
            self.rescoring,
            compute,
        )

    # Training.

    def targets(self, batch: Batch) -> Targets:
        """What the maps should be, [B, ...]; the centre is the only part."""
        keypoints = on_map(batch, STRIDE)
        partition = self.skeleton.partition("center")
        centers = partial(part_points, partition=partition, min_part_area=self.min_center_area)
        render = partial(
            render_maps, part_sigma=self.center_sigma, offset_radius=self.offset_radius
        )
        parts = jax.vmap(centers)(keypoints, batch["area"])
        return jax.vmap(render)(keypoints, _reach(batch), batch["valid_mask"], parts)

    def losses(self, net: Any, batch: Batch) -> dict[str, jax.Array]:
        """Squared error of the heatmaps, smooth L1 distance of the offsets.

        Args:
            net: bound.
            batch: as in `Method.losses`, and, where frames are no whole images, reach, float32
                [B, P]: the squared distance of the lower right corner of a person's keypoints from
                the image's first pixel, in frame pixels. The released code means the squared
                diagonal, but lets the box begin at the image's corner.
        """
        targets = self.targets(batch)
        outputs = net(normalize(batch["image"]))
        heatmap, center = outputs.heatmap[..., :-1], outputs.heatmap[..., -1:]
        maps = Maps(heatmap, center, outputs.offset[..., None, :, :])
        offset = losses.offset_loss(maps.offset, targets.offset, targets.offset_weight)
        return {
            "heatmap": self.heatmap_factor * losses.point_loss(maps, targets),
            "offset": self.offset_factor * offset,
        }

    # Testing.

    def poses(self, net: Any, frames: FrameBatch, inference: DEKRInference) -> Stages:
        """Poses at the peaks of the centre map.

        Returns:
            candidates: of all scales, larger ones first; [B, N, K, 3] and so on.
            final: after suppression or fusion, and rescoring if there is any.
        """
        scales = sorted(
            zip(inference.scales, frames.pixels, strict=True), key=lambda pair: -pair[0]
        )
        found = {scale: self._at_scale(net, inference, x) for scale, x in scales}
        _, height, width, _ = frames.pixels[inference.scales.index(1.0)].shape
        candidates, heat = _candidates(found, (height, width), inference.scale_decrease)

        def suppress(poses: PoseSet, heat: jax.Array) -> PoseSet:
            return suppress_coinciding(
                poses,
                heat,
                distance=inference.coincidence,
                keypoints=inference.keypoints,
                limit=_MOST_POSES,
            )

        def fuse(poses: PoseSet, heat: jax.Array) -> PoseSet:
            del heat
            groups = fusion.group_poses(poses, self.skeleton.sigmas, inference.oks_threshold)
            return fusion.fuse_groups(groups)

        final = jax.vmap(fuse if inference.fusion else suppress)(candidates, heat)
        if self.rescoring is not None:
            zoom = jnp.hypot(frames.matrix[:, 0, 0], frames.matrix[:, 1, 0])
            final = _rescored(net, final, jnp.asarray(zoom))
        return {"candidates": candidates, "final": jax.vmap(_best_first)(final)}

    def _at_scale(self, net: Any, inference: DEKRInference, images: jax.Array) -> _ScaleResult:
        """Image and mirrored image, if any, go through the network as one batch."""
        batch = images.shape[0]
        inputs = normalize(images)
        if inference.flip:
            mirrored = decoding.mirror_images(inputs, keep_last=True)
            inputs = jnp.concatenate([inputs, mirrored])
        features = net.backbone(inputs)
        width, swap = features.shape[2], self.skeleton.mirror_permutation

        heatmap = net.heatmap(features)
        if inference.flip:
            mirrored = heatmap[batch:, :, ::-1][..., np.array([*swap, len(swap)])]
            heatmap = (heatmap[:batch] + mirrored) / 2

        peaks = decoding.find_peaks(heatmap[..., -1:])
        yx = peaks.yx[:, 0]  # [B, N, 2]
        if inference.flip:
            yx = jnp.concatenate([yx, jnp.stack([yx[..., 0], width - 1 - yx[..., 1]], axis=-1)])
        positions = yx[..., None, ::-1].astype(features.dtype)
        # Offsets are made at the peaks alone, which takes a tenth of the adaptive convolutions.
        poses = positions - net.offset(features, yx)
        if inference.flip:
            poses = (poses[:batch] + decoding.mirror_poses(poses[batch:], width, swap)) / 2
        return _ScaleResult(heatmap[..., :-1], poses, peaks.scores[:, 0], peaks.mask[:, 0])

    # Weights and size.

    def state_dict_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """The released names have none for our modules, and one layer a keypoint's branch."""
        collection, module, *layers = path
        bare = (collection, *layers)
        if module == "rescoring":
            (name,) = torch_entry(bare, ()).names
            return one_array(name, np.transpose, np.transpose)
        if layers[0].startswith("offset_f"):
            return self._branches_entry(bare, shape)
        return torch_entry(bare, shape)

    def _branches_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """A leaf of all branches, side by side on its last axis."""
        count = self.skeleton.num_keypoints
        collection, first, *layers = path
        list_name, *block = first.split(".")  # offset_feature_layers and a number, or the last one
        inner = ["adapt_conv" if layer == "conv" else layer for layer in layers]
        entries = [
            torch_entry(
                (collection, list_name, str(branch), *block, *inner),
                (*shape[:-1], shape[-1] // count),
            )
            for branch in range(count)
        ]

        def to_torch(leaf: np.ndarray) -> list[np.ndarray]:
            own = np.split(leaf, count, axis=-1)
            return [entry.to_torch(x)[0] for entry, x in zip(entries, own, strict=True)]

        def from_torch(arrays: Any) -> np.ndarray:
            own = [entry.from_torch([x]) for entry, x in zip(entries, arrays, strict=True)]
            return np.concatenate(own, axis=-1)

        return Entry(tuple(entry.names[0] for entry in entries), to_torch, from_torch)

    def state_dict_constants(self) -> dict[str, np.ndarray]:
        """The places of a kernel's taps, once a block of every branch."""
        taps = TAPS.T.astype(np.float32)
        branches, blocks = range(self.skeleton.num_keypoints), range(self.offset_blocks)
        return {
            f"offset_feature_layers.{branch}.{block}.regular_matrix": taps
            for branch in branches
            for block in blocks
        }

    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """Backbone, heatmaps and offsets of whole maps."""
        count = self.skeleton.num_keypoints
        note = f"The {count} branches' adaptive convolutions are a loop, which XLA counts once."

        def array(*shape: int) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((1, *shape), jnp.float32)

        features = array(shape[0] // STRIDE, shape[1] // STRIDE, self.backbone.features)
        return {
            "backbone": CountedModule(
                ("backbone",), lambda net, images: net.backbone(images), (array(*shape, 3),)
            ),
            "heatmaps": CountedModule(("heatmap",), lambda net, x: net.heatmap(x), (features,)),
            "offsets": CountedModule(("offset",), lambda net, x: net.offset(x), (features,), note),
        }


class _ScaleResult(NamedTuple):
    """What one scale gives, in its own map pixels."""

    heatmap: jax.Array  # [B, h, w, K]
    poses: jax.Array  # [B, N, K, 2]
    scores: jax.Array  # [B, N]
    mask: jax.Array


def _reach(batch: Batch) -> jax.Array:
    """See `DEKR.losses`: [B, P]."""
    if "reach" in batch:
        return batch["reach"]
    points, labelled = batch["keypoints"][..., :2], batch["keypoints"][..., 2:] > 0
    corner = jnp.where(labelled, points, 0).max(axis=2)  # [B, P, 2]
    return (corner**2).sum(axis=-1)


def _candidates(
    found: dict[float, _ScaleResult], shape: tuple[int, int], decrease: float
) -> tuple[PoseSet, jax.Array]:
    """The poses of all scales in frame pixels, and the mean of each one's heat, [B, N].

    The released code enlarges the heatmaps to the frame's size, and reads them at whole pixels.
    """
    masks = [result.mask for result in found.values()]
    scores = [result.scores for result in found.values()]
    scores = decoding.comparable_scores(scores, masks, list(found), decrease)
    pixels = jnp.concatenate([r.poses * (STRIDE / scale) for scale, r in found.items()], axis=1)
    last = np.array(shape[::-1], np.float32).reshape(1, 1, 1, 2) - 1
    whole = jnp.clip(jnp.floor(pixels), 0, last)
    read = [
        jax.vmap(decoding.read_heatmap)(result.heatmap, whole * (scale / STRIDE))
        for scale, result in found.items()
    ]
    heat = jnp.stack(read).mean(axis=0)  # [B, N, K]
    keypoint_scores = jnp.concatenate(scores, axis=1)[..., None] * heat
    keypoints = jnp.concatenate([pixels, keypoint_scores[..., None]], axis=-1)
    poses = PoseSet(keypoints, keypoint_scores.mean(axis=-1), jnp.concatenate(masks, axis=1))
    return poses, heat.mean(axis=-1)


def _rescored(net: Any, poses: PoseSet, zoom: jax.Array) -> PoseSet:
    """Scores times what the network makes of the poses in image pixels; zoom [B] is the frames'."""
    # Frames of padding have zoom 0.
    zoom = jnp.where(zoom > 0, zoom, 1)[:, None, None, None]
    points = poses.keypoints[..., :2] / zoom
    factors = net.rescoring(jnp.concatenate([points, poses.keypoints[..., 2:]], axis=-1))
    scores = factors * poses.scores
    return poses._replace(scores=jnp.where(jnp.isnan(scores), 0, scores))


def _best_first(poses: PoseSet) -> PoseSet:
    order = jnp.argsort(jnp.where(poses.mask, -poses.scores, jnp.inf), stable=True)
    return jax.tree.map(lambda x: x[order], poses)
