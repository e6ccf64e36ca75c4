"""Top-down methods: SimpleBaseline, and HRNet in its place.

A frame is a person's crop; the network answers with a heatmap for every keypoint. The two differ in
their backbone and in the order of their channels.

Legend for shapes: B crops of H x W pixels, maps of h = H / 4 by w = W / 4, K keypoints, N boxes of
an image.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from pinet_jax import boxes as crops
from pinet_jax.errors import InputError
from pinet_jax.frames import Frame, FrameBatch
from pinet_jax.interop.layouts import Entry, torch_entry
from pinet_jax.methods.base import (
    Batch,
    CountedModule,
    InferenceConfig,
    Method,
    Stages,
    check_share,
)
from pinet_jax.networks.hrnet import HRNetConfig
from pinet_jax.networks.inputs import normalize
from pinet_jax.networks.layers import Compute
from pinet_jax.networks.resnet import RESNET_50, ResNetConfig
from pinet_jax.networks.simple_baseline import HeatmapNetwork
from pinet_jax.person_heatmaps import (
    STRIDE,
    average_mirrored,
    heatmap_loss,
    read_keypoints,
    render_heatmaps,
)
from pinet_jax.pixel_arrays import checked_boxes
from pinet_jax.poses import Poses, PoseSet
from pinet_jax.skeletons import COCO_17, Skeleton
from pinet_jax.suppression import rescore, suppress_by_oks

_FINEST_W32 = HRNetConfig(concatenated=False)
_FEWEST_BOXES = 8  # of an image that the smallest program for people takes


@dataclasses.dataclass(frozen=True)
class TopDownInference(InferenceConfig):
    """The test procedure of methods whose frame is a person's crop."""

    oks_threshold: float = 0.9  # above it two boxes' poses are one person's

    def __post_init__(self) -> None:
        """Refuses values that no test can have.

        Raises:
            UsageError: with the field's name and value.
        """
        check_share("oks_threshold", self.oks_threshold)


class TopDown(Method):
    """What both methods share.

    Attributes:
        crop_shape: height and width of a frame, pixels; multiples of 32.
        sigma: of the targets' Gaussians, map pixels.
        reads_bgr: whether the network sees blue first, normalised as if it were red.
    """

    inference_type: ClassVar[type[InferenceConfig]] = TopDownInference
    needs_boxes: ClassVar[bool] = True
    batch_arrays: ClassVar[tuple[str, ...]] = ("image", "keypoints")
    output_layers: ClassVar[tuple[str, ...]] = ("conv1", "final_layer")
    reads_bgr: ClassVar[bool]

    crop_shape: tuple[int, int]
    sigma: float

    @property
    @abc.abstractmethod
    def upsampled_widths(self) -> tuple[int, ...]:
        """Channels of the transposed convolutions after the backbone; each doubles the size."""

    def network(self, compute: Compute = Compute()) -> nn.Module:
        """The heatmaps' network."""
        return HeatmapNetwork(
            self.backbone, self.upsampled_widths, self.skeleton.num_keypoints, compute
        )

    def normalized(self, pixels: jax.Array) -> jax.Array:
        """What the network sees of RGB pixels; what is normalised already stays as it is."""
        if self.reads_bgr and not jnp.issubdtype(pixels.dtype, jnp.floating):
            pixels = pixels[..., ::-1]
        return normalize(pixels)

    def losses(self, net: Any, batch: Batch) -> dict[str, jax.Array]:
        """The loss of crops, each of one person: P = 1."""
        heatmap = net(self.normalized(batch["image"]))
        shape = (heatmap.shape[1], heatmap.shape[2])
        targets = render_heatmaps(batch["keypoints"][:, 0], shape, self.sigma)
        return {"heatmap": heatmap_loss(heatmap, targets)}

    def frame_shapes(
        self, image_shape: tuple[int, int], inference: Any
    ) -> tuple[tuple[int, int], ...]:
        """The crop's, whatever the image."""
        del image_shape, inference
        return (self.crop_shape,)

    def frames(
        self, image: np.ndarray, inference: Any, boxes: np.ndarray | None = None
    ) -> list[Frame]:
        """A crop for every box."""
        del inference
        if boxes is None:
            raise InputError(
                "a top-down network needs people's boxes: of annotations, of a detector, or of "
                "another system's poses"
            )
        frames = []
        for box in checked_boxes(boxes):
            region = crops.crop_region(box[:4], self.crop_shape)
            matrix = crops.affine_of_region(region, self.crop_shape)
            frames.append(Frame((crops.crop(image, matrix, self.crop_shape),), matrix, box))
        return frames

    def poses(self, net: Any, frames: FrameBatch, inference: Any) -> Stages:
        """One pose a crop; its score is that of its keypoints, see `image_poses`."""
        inputs = self.normalized(jnp.asarray(frames.pixels[0]))
        if inference.flip:
            both = net(jnp.concatenate([inputs, inputs[:, :, ::-1]]))
            heatmap, mirrored = jnp.split(both, 2)
            heatmap = average_mirrored(heatmap, mirrored, self.skeleton.mirror_permutation)
        else:
            heatmap = net(inputs)
        keypoints = read_keypoints(heatmap)[:, None]  # [B, 1, K, 3]
        scores = rescore(keypoints[..., 2])
        return {"final": PoseSet(keypoints, scores, jnp.ones(scores.shape, bool))}

    def image_poses(
        self, found: Sequence[dict[str, Poses]], frames: Sequence[Frame], inference: Any
    ) -> dict[str, Poses]:
        """One pose a person: scores times those of their boxes, then OKS-NMS on the device."""
        k = self.skeleton.num_keypoints
        if not frames:
            return {"final": Poses(np.zeros((0, k, 3), np.float32), np.zeros(0, np.float32))}
        # A program for 8 boxes, for 16, for 32 and so on.
        room = max(_FEWEST_BOXES, 1 << (len(frames) - 1).bit_length())

        def padded(rows: Sequence[Any]) -> Any:
            array = np.stack(rows).astype(np.float32)
            return np.pad(array, [(0, room - len(rows))] + [(0, 0)] * (array.ndim - 1))

        poses = [one["final"] for one in found]
        scores = [
            pose.scores[0] * (1.0 if frame.box is None else frame.box[4])
            for pose, frame in zip(poses, frames, strict=True)
        ]
        mask: Any = np.arange(room) < len(frames)
        keypoints = padded([pose.keypoints[0] for pose in poses])
        kept = _people(
            PoseSet(keypoints, padded(scores), mask),
            padded([self.area(frame) for frame in frames]),
            sigmas=self.skeleton.sigmas,
            threshold=inference.oks_threshold,
        )
        people = jax.device_get(kept)
        return {"final": Poses(people.keypoints[people.mask], people.scores[people.mask])}

    def state_dict_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """The released names have no "backbone" before them."""
        collection, *layers = path
        return torch_entry((collection, *(name for name in layers if name != "backbone")), shape)

    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """The backbone and what follows it."""
        height, width = shape
        doublings = len(self.upsampled_widths)
        stride = STRIDE * 2**doublings
        image = jax.ShapeDtypeStruct((1, height, width, 3), jnp.float32)
        features = (1, height // stride, width // stride, self.backbone.features)
        doubled = [f"deconv_layers.{3 * i + j}" for i in range(doublings) for j in (0, 1)]
        return {
            "backbone": CountedModule(("backbone",), lambda net, x: net.backbone(x), (image,)),
            "head": CountedModule(
                (*doubled, "final_layer"),
                lambda net, x: net.head(x),
                (jax.ShapeDtypeStruct(features, jnp.float32),),
            ),
        }

    def area(self, frame: Frame) -> float:
        """Of a crop in the image, pixels."""
        height, width = self.crop_shape
        return height * width / abs(np.linalg.det(frame.matrix[:, :2]))


@functools.partial(jax.jit, static_argnames=("sigmas", "threshold"))
def _people(
    poses: PoseSet, area: jax.Array, *, sigmas: tuple[float, ...], threshold: float
) -> PoseSet:
    return suppress_by_oks(poses, area, sigmas, threshold)


@dataclasses.dataclass(frozen=True)
class SimpleBaseline(TopDown):
    """A ResNet and transposed convolutions; by default ResNet-50 on COCO."""

    reads_bgr: ClassVar[bool] = True  # the released weights were trained so

    skeleton: Skeleton = COCO_17
    backbone: ResNetConfig = RESNET_50
    upsampled_width: int = 256  # channels of the transposed convolutions
    crop_shape: tuple[int, int] = (256, 192)  # height and width, pixels; multiples of 32
    sigma: float = 2.0  # of the targets, map pixels; the released code has 3 for 384 x 288

    @property
    def upsampled_widths(self) -> tuple[int, ...]:
        """From a 32nd of the crop's resolution to a quarter."""
        return (self.upsampled_width,) * 3


@dataclasses.dataclass(frozen=True)
class TopDownHRNet(TopDown):
    """An HRNet's highest resolution; by default W32 on COCO."""

    reads_bgr: ClassVar[bool] = False

    skeleton: Skeleton = COCO_17
    backbone: HRNetConfig = _FINEST_W32
    crop_shape: tuple[int, int] = (256, 192)  # height and width, pixels; multiples of 32
    sigma: float = 2.0  # of the targets, map pixels; the released code has 3 for 384 x 288

    @property
    def upsampled_widths(self) -> tuple[int, ...]:
        """None: its resolution is a quarter of the crop's."""
        return ()
