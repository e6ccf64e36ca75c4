"""CID: one heatmap a keypoint for every person, made from the features at the person's centre.

Wang and Zhang, Contextual Instance Decoupling for Robust Multi-Person Pose Estimation, CVPR 2022.

Legend for shapes: B frames, maps of h x w positions (R x R in training), P people (padded),
K keypoints, N candidates of a frame, S the side of a training frame.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pinet_jax import decoding, fusion, instance_targets
from pinet_jax.errors import UsageError
from pinet_jax.frames import STRIDE, FrameBatch
from pinet_jax.instance_decoding import read_keypoints, smoothed
from pinet_jax.instance_losses import FocalSums, contrastive_loss, focal_sums
from pinet_jax.interop.layouts import Entry, one_array
from pinet_jax.methods.base import (
    Batch,
    BottomUp,
    BottomUpInference,
    CountedModule,
    Stages,
    check_share,
)
from pinet_jax.networks.cid import CIDNetwork, probability
from pinet_jax.networks.hrnet import W32, HRNetConfig
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.sampling import take_positions
from pinet_jax.poses import PoseSet
from pinet_jax.skeletons import COCO_17, Skeleton
from pinet_jax.targets import SMALL_AREA, on_map, part_points, points_on_map


@dataclasses.dataclass(frozen=True)
class CIDInference(BottomUpInference):
    """The test procedure; by default that of the released COCO and CrowdPose configs."""

    # Side of the windows whose means are mixed into the maps, in map pixels; odd. The released
    # config takes 11 where a network trained on COCO is tested on OCHuman.
    smoothing: int = 3
    oks_threshold: float = 0.8  # above it two poses are one person's; 0.7 on OCHuman

    def __post_init__(self) -> None:
        """Refuses what the method cannot do.

        Raises:
            UsageError: with the field's name and value.
        """
        super().__post_init__()
        check_share("oks_threshold", self.oks_threshold)
        if self.scales != (1.0,):
            raise UsageError(f"scales {self.scales}: CID is tested at scale 1 alone")
        if self.smoothing < 1 or self.smoothing % 2 == 0:
            raise UsageError(f"smoothing {self.smoothing}: use an odd number of map pixels")


class _People(NamedTuple):
    """The people of a batch who are trained one by one; see `instance_targets.Instances`.

    Attributes:
        keypoints: [B, P, K, 3], map pixels.
        radius: int32 [B, P], of their Gaussians.
        yx: int32 [B, P, 2], the positions that stand for them.
        mask: bool [B, P].
    """

    keypoints: jax.Array
    radius: jax.Array
    yx: jax.Array
    mask: jax.Array


@dataclasses.dataclass(frozen=True)
class CID(BottomUp):
    """The method; by default as the released COCO config has it."""

    skeleton: Skeleton = COCO_17
    backbone: HRNetConfig = W32  # people's features are as wide as its highest branch
    min_center_area: float = SMALL_AREA  # frame pixels; smaller people have no centre
    heatmap_factor: float = 1.0  # of the focal loss of everybody's maps
    instance_factor: float = 4.0  # of the focal loss of every person's own
    contrastive_factor: float = 1.0  # of the loss that keeps people's features apart

    inference_type: ClassVar[type[CIDInference]] = CIDInference
    stages: ClassVar[tuple[str, ...]] = ("candidates", "final")
    batch_arrays: ClassVar[tuple[str, ...]] = (
        "image",
        "keypoints",
        "area",
        "valid_mask",
        "corners",
    )
    output_layers: ClassVar[tuple[str, ...]] = ("keypoint_center_conv", "heatmap_conv")

    def network(self, compute: Compute = Compute()) -> CIDNetwork:
        """Backbone, everybody's maps, and the decoupling of single people."""
        width = self.backbone.width
        return CIDNetwork(self.skeleton.num_keypoints, width, self.backbone, compute)

    def losses(self, net: CIDNetwork, batch: Batch) -> dict[str, jax.Array]:
        """Focal losses of everybody's and of each person's maps, and the contrastive loss.

        The reference's sums are divided by the counts of one GPU's images, ours by those of the
        whole batch.

        Args:
            net: bound.
            batch: as in `Method.losses`, and corners, float32 [B, P, 4, 2]: of the people's boxes
                in frame pixels, top left, top right, bottom left, bottom right.
        """
        shape = (*batch["area"].shape, 2)
        jitter = jax.random.randint(net.make_rng("sample"), shape, -1, 2)
        return self.jittered_losses(net, batch, jitter)

    def jittered_losses(
        self, net: CIDNetwork, batch: Batch, jitter: jax.Array
    ) -> dict[str, jax.Array]:
        """`losses`, with centres moved by int32 [B, P, 2], x and y in -1, 0, 1 map pixels."""
        features, logits = net(normalize(batch["image"]))
        targets = partial(self._targets, size=features.shape[1])
        keypoints = on_map(batch, STRIDE)
        corners = points_on_map(batch["corners"], batch, STRIDE)
        heatmaps, people = jax.vmap(targets)(keypoints, corners, batch["area"], jitter)
        valid = batch["valid_mask"].astype(logits.dtype)[..., None]
        vectors = take_positions(features, people.yx)
        of_all = focal_sums(probability(logits), heatmaps, valid).mean()
        return {
            "heatmap": self.heatmap_factor * of_all,
            "instance": self.instance_factor * _instance_loss(net, features, vectors, people),
            "contrastive": self.contrastive_factor * contrastive_loss(vectors, people.mask),
        }

    def _targets(
        self,
        keypoints: jax.Array,
        corners: jax.Array,
        area: jax.Array,
        jitter: jax.Array,
        *,
        size: int,
    ) -> tuple[jax.Array, _People]:
        """Of one image: everybody's maps [R, R, K + 1], and the people who are trained alone."""
        partition = self.skeleton.partition("center")
        centers = part_points(keypoints, area, partition, self.min_center_area)
        radius = instance_targets.gaussian_radius(corners, size)
        points = jnp.concatenate([keypoints, centers], axis=1)
        heatmaps = instance_targets.everybodys_heatmaps(points, radius, size)
        chosen = instance_targets.choose_instances(centers[:, 0], area, jitter, size)
        person = chosen.person
        return heatmaps, _People(keypoints[person], radius[person], chosen.yx, chosen.mask)

    def poses(self, net: CIDNetwork, frames: FrameBatch, inference: CIDInference) -> Stages:
        """Centres, each person's heatmaps, and suppression."""
        (images,) = frames.pixels
        features, logits = _both_ways(net, images, inference.flip)
        center = _mean_of_passes(probability(logits[..., -1:]), images.shape[0])
        peaks = decoding.find_peaks(smoothed(center, inference.smoothing))
        found = self._own_keypoints(net, features, peaks.yx[:, 0], inference)  # [B, N, K, 3]
        scores = found[..., 2] * peaks.scores[:, 0, :, None]
        # The middle of a map pixel is 2 frame pixels from its corner.
        pixels = STRIDE * found[..., :2] + STRIDE / 2
        keypoints = jnp.concatenate([pixels, scores[..., None]], axis=-1)
        candidates = PoseSet(keypoints, scores.mean(axis=-1), peaks.mask[:, 0])

        def kept(poses: PoseSet) -> PoseSet:
            sigmas, threshold = self.skeleton.sigmas, inference.oks_threshold
            return fusion.leaders(fusion.group_poses(poses, sigmas, threshold))

        return {"candidates": candidates, "final": jax.vmap(kept)(candidates)}

    def _own_keypoints(
        self, net: CIDNetwork, features: jax.Array, yx: jax.Array, inference: CIDInference
    ) -> jax.Array:
        """Keypoints of the people at positions [B, N, 2]: [B, N, K, 3], map pixels and heat."""
        swap = np.asarray(self.skeleton.mirror_permutation)
        count = yx.shape[0]
        yx = jnp.concatenate([yx, yx] if inference.flip else [yx])
        vectors, own_logits = take_positions(features, yx), net.decoupler(features)

        # One candidate of every frame at a time: the maps of all would fill the memory.
        def one(candidate: tuple[jax.Array, jax.Array]) -> jax.Array:
            vector, yx = (x[:, None] for x in candidate)
            heatmaps = probability(own_logits(vector, yx)[:, 0])
            unswapped = heatmaps.at[count:].set(heatmaps[count:, ..., swap])
            mean = _mean_of_passes(unswapped, count)
            return read_keypoints(smoothed(mean, inference.smoothing))

        found = jax.lax.map(one, (vectors.swapaxes(0, 1), yx.swapaxes(0, 1)))
        return found.swapaxes(0, 1)

    def state_dict_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """The layers' names are the released code's; dense layers are torch's linear ones."""
        entry = super().state_dict_entry(path, shape)
        if path[-1] == "kernel" and len(shape) == 2:
            (name,) = entry.names
            return one_array(name, np.transpose, np.transpose)
        return entry

    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """Backbone, everybody's maps, and the decoupling of as many people as are decoded."""
        height, width = (side // STRIDE for side in shape)
        image = jax.ShapeDtypeStruct((1, *shape, 3), jnp.float32)
        features = jax.ShapeDtypeStruct((1, height, width, self.backbone.features), jnp.float32)
        yx = jax.ShapeDtypeStruct((1, decoding.PEAKS_PER_PART, 2), jnp.int32)
        return {
            "backbone": CountedModule(("backbone",), lambda net, x: net.backbone(x), (image,)),
            "keypoints and centers": CountedModule(
                ("iia",), lambda net, x: net.iia(x), (features,)
            ),
            "decoupling": CountedModule(
                ("gfd",),
                CIDNetwork.decouple,
                (features, yx),
                f"Decoupling: of {decoding.PEAKS_PER_PART} people, as many as inference decodes.",
            ),
        }


def _both_ways(net: CIDNetwork, images: jax.Array, flip: bool) -> tuple[jax.Array, jax.Array]:
    """Features and logits of images and, behind them, of mirrored ones, mirrored back."""
    inputs = normalize(images)
    if not flip:
        return net(inputs)
    count = images.shape[0]
    outputs = net(jnp.concatenate([inputs, inputs[:, :, ::-1]]))
    features, logits = (jnp.concatenate([x[:count], x[count:, :, ::-1]]) for x in outputs)
    return features, logits


def _mean_of_passes(maps: jax.Array, count: int) -> jax.Array:
    """[passes * count, ...] -> [count, ...]."""
    return maps.reshape(-1, count, *maps.shape[1:]).mean(axis=0)


def _instance_loss(
    net: CIDNetwork, features: jax.Array, vectors: jax.Array, people: _People
) -> jax.Array:
    """The focal loss of all people's own heatmaps.

    A keypoint without a label does not count; one that is labelled outside of the map has an empty
    heatmap. The reference keeps 200 people a GPU at most, for its memory's sake. Here one person
    of every image is done at a time, and its maps are made again for the gradient.

    Args:
        net: bound.
        features: [B, R, R, C].
        vectors: [B, P, C], the features at the people's positions.
        people: of the batch.
    """
    own_logits = net.decoupler(features)
    heatmaps = jax.vmap(partial(instance_targets.own_heatmaps, size=features.shape[1]))

    @partial(jax.checkpoint, prevent_cse=False)
    def sums(vector: jax.Array, person: _People) -> FocalSums:
        logits = own_logits(vector[:, None], person.yx[:, None])[:, 0]
        counts = person.mask[:, None] & (person.keypoints[..., 2] > 0)
        mask = counts[:, None, None].astype(logits.dtype)
        return focal_sums(probability(logits), heatmaps(person.keypoints, person.radius), mask)

    zero = jnp.zeros((), vectors.dtype)
    nothing = FocalSums(zero, zero)

    def add(total: FocalSums, inputs: tuple[jax.Array, _People]) -> tuple[FocalSums, None]:
        # Most images have fewer people than there is room for.
        anybody = inputs[1].mask.any()
        new = jax.lax.cond(anybody, sums, lambda *_: nothing, *inputs)
        return FocalSums(total.loss + new.loss, total.peaks + new.peaks), None

    one_by_one = jax.tree.map(lambda x: x.swapaxes(0, 1), (vectors, people))
    return jax.lax.scan(add, nothing, one_by_one)[0].mean()
