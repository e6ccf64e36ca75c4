"""PINet: parts vote for whole poses, a graph network corrects them, a person's poses are fused.

The paper's names: part-based pose generation (PPG), pose refinement (PR), pose fusion (PF). Its
baseline SPM is the value with one part of all keypoints ("center") and without refinement.

Legend for shapes: B frames, a map of h x w positions with C channels, N peaks a part, K keypoints,
S parts.

References:
    Wang et al., Robust Pose Estimation in Crowded Scenes with Direct Pose-Level Inference,
    NeurIPS 2021, and its released code.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax import decoding, fusion, losses
from pinet_jax.frames import STRIDE, FrameBatch
from pinet_jax.methods.base import (
    Batch,
    BottomUp,
    BottomUpInference,
    CountedModule,
    InferenceConfig,
    Stages,
    check_share,
)
from pinet_jax.networks.backbones import AnyBackbone
from pinet_jax.networks.hrnet import W32
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.pinet import PINetNetwork
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.networks.sampling import take_positions
from pinet_jax.poses import PoseSet
from pinet_jax.skeletons import COCO_17, Partition, Skeleton
from pinet_jax.targets import (
    SMALL_AREA,
    Targets,
    known_background,
    on_map,
    only_known_background,
    points_on_map,
    render_targets,
)


@dataclasses.dataclass(frozen=True)
class LossConfig:
    """The factors of the losses and the poses that refinement is trained on; the paper's."""

    point_factor: float = 1.0  # of the part maps' loss
    offset_factor: float = 0.03  # of the coarse poses' loss
    refinement_factor: float = 0.03  # of the refined poses' loss
    proposals: int = 120  # poses an image that refinement is trained on, shared among the parts
    # The released code's rule: every image has as many poses of a part as the batch's poorest
    # (or all of them, trained or not, where that has none).
    batch_minimum: bool = False


@dataclasses.dataclass(frozen=True)
class PINetInference(BottomUpInference):
    """The test procedure; by default that of the paper's tables."""

    refinement: bool = True  # PR; otherwise poses stay as the offsets give them
    fusion: bool = True  # PF; otherwise the best pose of every group is kept as it is
    oks_threshold: float = 0.7  # above it two poses are one person's
    # Of the scores at other scales than 1. The released code names it without a value; 0.9 is its
    # sister project's for COCO, 0.8 for CrowdPose.
    scale_decrease: float = 0.9
    # Scores are multiplied by this power of the pose's area, in tenths of the frame's: among
    # equally sure poses of photographs, large ones are more exact. The paper has no such rule: 0.
    area_exponent: float = 0.0

    def __post_init__(self) -> None:
        """Refuses values that no test can have.

        Raises:
            UsageError: with the field's name and value.
        """
        super().__post_init__()
        check_share("oks_threshold", self.oks_threshold)


@dataclasses.dataclass(frozen=True)
class PINet(BottomUp):
    """The method; by default the paper's for OCHuman."""

    inference_type: ClassVar[type[InferenceConfig]] = PINetInference
    stages: ClassVar[tuple[str, ...]] = ("coarse", "refined", "final")
    optional_arrays: ClassVar[tuple[str, ...]] = ("mirrored", "background", "partial")
    output_layers: ClassVar[tuple[str, ...]] = (
        "heatmap_head",
        "detkptmap_head",
        "offset_head",
        "gconv_head",
        "gconv_pred.3",
    )

    skeleton: Skeleton = COCO_17
    partition: str = "part-large"  # one of the skeleton's partitions
    backbone: AnyBackbone = W32
    refinement: RefinementConfig | None = RefinementConfig()  # None: pose generation alone
    # Frame pixels; smaller people have no part points. CrowdPose has no such rule: 0.
    min_part_area: float = SMALL_AREA
    # Map pixels. The released configs have 2 for both, the released code's defaults are 4; which
    # the paper's row of SPM was trained with is not known.
    part_sigma: float = 2.0  # of the part maps' Gaussians
    offset_radius: int = 2  # offsets are trained in windows of twice this side
    loss: LossConfig = LossConfig()

    @property
    def parts(self) -> Partition:
        """The parts that vote for poses."""
        return self.skeleton.partition(self.partition)

    def network(self, compute: Compute = Compute()) -> PINetNetwork:
        """Backbone, heads and, if there is any, refinement."""
        return PINetNetwork(self.skeleton, len(self.parts), self.backbone, self.refinement, compute)

    def targets(self, batch: Batch) -> Targets:
        """What the maps should be, [B, ...]."""
        render = functools.partial(
            render_targets,
            partition=self.parts,
            min_part_area=self.min_part_area,
            part_sigma=self.part_sigma,
            offset_radius=self.offset_radius,
        )
        targets = jax.vmap(render)(on_map(batch, STRIDE), batch["area"], batch["valid_mask"])
        if "background" in batch:
            targets = only_known_background(targets, batch["background"])
        elif "partial" in batch:
            background = jax.vmap(known_background, in_axes=(0, 0, 0, None))(
                points_on_map(batch["corners"], batch, STRIDE),
                batch["keypoints"][..., 2] > 0,
                batch["partial"],
                batch["valid_mask"].shape[1],
            )
            targets = only_known_background(targets, background)
        return targets

    def losses(self, net: Any, batch: Batch) -> dict[str, jax.Array]:
        """Point, offset and, with refinement, refinement loss (section 3.3 of the paper)."""
        targets, config = self.targets(batch), self.loss
        features, maps = net(normalize(batch["image"]))
        found = {
            "point": config.point_factor * losses.point_loss(maps, targets),
            "offset": config.offset_factor
            * losses.offset_loss(maps.offset, targets.offset, targets.offset_weight),
        }
        if self.refinement is not None:
            proposals = losses.sample_proposals(targets, config.proposals, config.batch_minimum)
            poses = losses.coarse_poses(maps.offset, proposals)
            b, s, n, _ = proposals.yx.shape
            centers, mask = proposals.yx.reshape(b, s * n, 2), proposals.mask.reshape(b, s * n)
            delta = net.refine(features, poses, centers, mask)
            loss = losses.refinement_loss(delta, maps.offset, targets, proposals)
            found["refinement"] = config.refinement_factor * loss
        return found

    def poses(self, net: Any, frames: FrameBatch, inference: PINetInference) -> Stages:
        """Decoded, refined and fused poses.

        Returns:
            coarse: as the offsets give them; [B, N, K, 3] and so on.
            refined: after pose refinement; without it, the coarse ones.
            final: after pose fusion, or without it, the best of every group.
        """
        scales = sorted(
            zip(inference.scales, frames.pixels, strict=True), key=lambda pair: -pair[0]
        )
        results = {scale: self._poses_at_scale(net, inference, x) for scale, x in scales}
        _, height, width, _ = frames.pixels[inference.scales.index(1.0)].shape
        masks = [r.mask for r in results.values()]
        comparable = decoding.comparable_scores(
            [r.scores for r in results.values()], masks, list(results), inference.scale_decrease
        )
        scores, mask = jnp.concatenate(comparable, axis=1), jnp.concatenate(masks, axis=1)

        def pose_set(points: Sequence[jax.Array]) -> PoseSet:
            enlarged = [p * (STRIDE / scale) for p, scale in zip(points, results, strict=True)]
            pixels = jnp.concatenate(enlarged, axis=1)  # [B, N, K, 2]
            keypoint_scores = scores[..., None] * _read_heatmaps(results, pixels, height, width)
            keypoints = jnp.concatenate([pixels, keypoint_scores[..., None]], axis=-1)
            return PoseSet(keypoints, keypoint_scores.mean(axis=-1), mask)

        def fuse(poses: PoseSet) -> PoseSet:
            groups = fusion.group_poses(poses, self.skeleton.sigmas, inference.oks_threshold)
            return self.grouped(groups, inference, height * width)

        refined = pose_set([r.refined for r in results.values()])
        coarse = pose_set([r.coarse for r in results.values()])
        return {"coarse": coarse, "refined": refined, "final": jax.vmap(fuse)(refined)}

    def grouped(
        self, groups: fusion.Grouping, inference: PINetInference, frame_area: int
    ) -> PoseSet:
        """One pose a group of one frame: fused or its best, scored by the test procedure."""
        final = fusion.fuse_groups(groups) if inference.fusion else fusion.leaders(groups)
        if not inference.area_exponent:
            return final
        tenths = fusion.tight_area(final.keypoints) / (0.1 * frame_area)
        return fusion.by_score(final, final.scores * tenths**inference.area_exponent)

    def _poses_at_scale(
        self, net: Any, inference: PINetInference, images: jax.Array
    ) -> _ScaleResult:
        """Image and mirrored image, if any, go through the network as one batch."""
        batch = images.shape[0]
        inputs = normalize(images)
        if inference.flip:
            inputs = jnp.concatenate([inputs, decoding.mirror_images(inputs)])
        features, maps = net(inputs)
        width = features.shape[2]
        swap = self.skeleton.mirror_permutation

        heatmap, part_map = maps.heatmap[:batch], maps.part_map[:batch]
        if inference.flip:
            mirrored = maps.heatmap[batch:, :, ::-1][..., np.asarray(swap)]
            heatmap = (heatmap + mirrored) / 2
            part_map = (part_map + maps.part_map[batch:, :, ::-1]) / 2

        peaks = decoding.find_peaks(part_map)
        yx = peaks.yx
        if inference.flip:
            yx = jnp.concatenate([yx, jnp.stack([yx[..., 0], width - 1 - yx[..., 1]], axis=-1)])
        centers = _flat(yx, 1)  # [B or 2B, S * N, 2]
        # Offsets are wanted at the peaks alone; with the maps' own unused, XLA leaves them out.
        offset = net.generate(take_positions(features, centers)[:, None]).offset
        poses = decoding.read_poses(offset.reshape(*yx.shape[:3], *offset.shape[3:]), yx)
        coarse = refined = _flat(poses, 2)
        if self.refinement is not None and inference.refinement:
            refined = coarse - net.refine(features, coarse, centers)

        def averaged(poses: jax.Array) -> jax.Array:
            if not inference.flip:
                return poses
            return (poses[:batch] + decoding.mirror_poses(poses[batch:], width, swap)) / 2

        return _ScaleResult(
            heatmap,
            averaged(coarse),
            averaged(refined),
            _flat(peaks.scores, 0),
            _flat(peaks.mask, 0),
        )

    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """Backbone, pose generation and, if there is any, refinement of all decoded poses."""

        def array(*shape: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((1, *shape), dtype)

        features = array(shape[0] // STRIDE, shape[1] // STRIDE, self.backbone.features)
        modules = {
            "backbone": CountedModule(
                ("backbone",), lambda net, images: net.backbone(images), (array(*shape, 3),)
            ),
            "pose generation": CountedModule(("ppg",), PINetNetwork.generate, (features,)),
        }
        if self.refinement is not None:
            poses = decoding.PEAKS_PER_PART * len(self.parts)
            points = array(poses, self.skeleton.num_keypoints, 2)
            centers = array(poses, 2, dtype=jnp.int32)
            modules["refinement"] = CountedModule(
                ("pr",),
                PINetNetwork.refine,
                (features, points, centers),
                f"Refinement: of {poses} poses, as many as inference decodes.",
            )
        return modules


class _ScaleResult(NamedTuple):
    """What one scale gives, in its own feature-map pixels."""

    heatmap: jax.Array  # [B, h, w, K]
    coarse: jax.Array  # [B, S * N, K, 2]
    refined: jax.Array
    scores: jax.Array  # [B, S * N]
    mask: jax.Array


def _flat(x: jax.Array, trailing: int) -> jax.Array:
    """[B, S, N, ...] -> [B, S * N, ...], with so many axes behind."""
    kept = x.shape[x.ndim - trailing :]
    return x.reshape(x.shape[0], -1, *kept)


def _read_heatmaps(
    results: dict[float, _ScaleResult], pixels: jax.Array, height: int, width: int
) -> jax.Array:
    """The mean of all scales' heatmaps at keypoints; zero where a neighbouring pixel is outside.

    Args:
        results: of every scale.
        pixels: [B, N, K, 2], of the frame at scale 1.
        height: of that frame.
        width: of that frame.
    """
    read = [
        jax.vmap(decoding.read_heatmap)(result.heatmap, pixels * (scale / STRIDE))
        for scale, result in results.items()
    ]
    # Integer parts are cut off toward zero, as in the reference: -0.9 has the neighbour 0.
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x > -1) & (x < width - 1) & (y > -1) & (y < height - 1)
    return jnp.where(inside, sum(read) / len(read), 0)
