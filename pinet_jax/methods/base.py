"""What a method is: a network, its losses and its poses. All other code knows only this.

Training, inference, checkpoints, import and export, complexity and evaluation call what is declared
here, and never ask which method they have. A method is a frozen dataclass: its fields are its
config, and their JSON is what a checkpoint carries.

Legend for shapes: B images or frames of a batch, H x W a frame, S the side of a (square) training
frame, P people (padded), K keypoints, N poses (padded).
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
from flax import linen as nn

from pinet_jax.errors import UsageError
from pinet_jax.frames import Frame, FrameBatch
from pinet_jax.interop.layouts import Entry, torch_entry
from pinet_jax.networks import initializers
from pinet_jax.networks.backbones import Backbone
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.layers import Compute
from pinet_jax.poses import Poses, PoseSet
from pinet_jax.resizing import resized_frame, resized_shape
from pinet_jax.skeletons import Skeleton

Batch = Mapping[str, jax.Array]
Stages = dict[str, PoseSet]


@dataclasses.dataclass(frozen=True)
class InferenceConfig:
    """The test procedure: what all methods share. A method extends it by its own fields."""

    flip: bool = True  # average with the mirrored frame
    bfloat16: bool = False  # compute of the network's hidden layers; faster on accelerators


@dataclasses.dataclass(frozen=True)
class BottomUpInference(InferenceConfig):
    """The test procedure of methods whose frame is the whole image."""

    input_size: int = 512  # pixels of the short side, rounded up to a multiple of 64
    scales: tuple[float, ...] = (1.0,)  # multiples of 0.5; 1 is always among them

    def __post_init__(self) -> None:
        """Refuses values that fit no image.

        Raises:
            UsageError: with the field's name and value.
        """
        if self.input_size < 1:
            raise UsageError(f"input_size {self.input_size}: use a positive number of pixels")
        if 1.0 not in self.scales or len(set(self.scales)) != len(self.scales):
            raise UsageError(f"scales {self.scales}: name each scale once, and 1 among them")
        if any(scale <= 0 or scale * 2 != int(scale * 2) for scale in self.scales):
            raise UsageError(f"scales {self.scales}: use multiples of 0.5, such as 0.5 1 2")


def check_share(name: str, value: float) -> None:
    """Refuses a field that is a share, such as a threshold of OKS.

    Raises:
        UsageError: with its name and value.
    """
    if not 0 <= value <= 1:
        raise UsageError(f"{name} {value}: use a number from 0 to 1")


class CountedModule(NamedTuple):
    """One part of a network, as `complexity.py` counts it.

    Attributes:
        layers: the names of its layers at the top of "params".
        run: a function of the bound network and of `inputs` that calls these layers once.
        inputs: shapes and dtypes, of one frame.
        note: for the reader of the figures: what one frame has.
    """

    layers: tuple[str, ...]
    run: Callable[..., Any]
    inputs: tuple[jax.ShapeDtypeStruct, ...]
    note: str = ""


class Method(abc.ABC):
    """The contract. Subclasses are frozen dataclasses, listed in `methods.METHODS`.

    `losses` and `poses` are pure functions of a *bound* network: they call it as any function,
    `net(images)` or `net.refine(...)`, and never see variables. The caller binds it:

        network = method.network(Compute(train=True))
        variables = {"params": params, "batch_stats": batch_stats}
        bound = nn.apply(method.losses, network, mutable=["batch_stats"])
        losses, updated = bound(variables, batch, rngs={"sample": key})

        network = method.network(Compute(folded=True))
        stages = nn.apply(method.poses, network)(folded_variables, frames, inference)

    Both are traced inside one jitted program: no shape may depend on a value, and the network is
    called outside of `jax.vmap`, `jax.lax.scan` and the like.

    Attributes:
        skeleton: the keypoints.
        backbone: the config of the layers that ImageNet weights exist for; a field of the
            dataclass. The network holds its module under the name "backbone".
        inference_type: the method's own test procedure, a subclass of `InferenceConfig` whose
            default is the one of the paper.
        stages: what `poses` returns, in the order in which poses come to be; the last is "final".
        needs_boxes: whether frames are made from boxes of people.
        batch_arrays: what `losses` reads of a batch.
        optional_arrays: what it also reads where a batch has it.
        output_layers: names of layers whose kernels Muon leaves to Adam: those that put out
            results, and first layers of parts that start from features, such as refinement.
    """

    __dataclass_fields__: ClassVar[dict[str, Any]]  # for type checkers: `replace` takes it

    skeleton: Skeleton
    backbone: Backbone
    inference_type: ClassVar[type[InferenceConfig]] = InferenceConfig
    stages: ClassVar[tuple[str, ...]] = ("final",)
    needs_boxes: ClassVar[bool] = False
    batch_arrays: ClassVar[tuple[str, ...]] = ("image", "keypoints", "area", "valid_mask")
    optional_arrays: ClassVar[tuple[str, ...]] = ()
    output_layers: ClassVar[tuple[str, ...]] = ()

    # The network.

    @abc.abstractmethod
    def network(self, compute: Compute = Compute()) -> nn.Module:
        """The linen module; nothing is computed yet.

        Called with float32 images [B, H, W, 3], its `init` makes the variables of every layer, by
        the initializers that the modules carry: it gives a network that trains. (In `__call__`,
        layers that it would not call are called where `self.is_initializing()`.)

        Args:
            compute: dtype, training or testing, folded normalisations, batch statistics,
                rematerialisation.
        """

    # Training.

    @abc.abstractmethod
    def losses(self, net: Any, batch: Batch) -> dict[str, jax.Array]:
        """The losses of a batch: makes targets, calls the network, compares.

        Args:
            net: the bound network, made with `Compute(train=True)`.
            batch: `batch_arrays` of these, on the device:
                image: uint8 [B, S, S, 3], RGB; or float, then it is normalised already.
                keypoints: float32 [B, P, K, 3], (x, y, v) in frame pixels, the centre of the first
                    pixel at (0, 0); v = 0 is no label, also in rows of padding. Each method divides
                    by its own strides (`targets.on_map`).
                area: float32 [B, P], of the people's boxes in frame pixels; 0 in padding.
                valid_mask: uint8 [B, S / 4, S / 4], 0 where people are not annotated.
                mirrored: bool [B], optional: the frame was mirrored, keypoints too, exactly
                    (x -> S - 1 - x). The released codes mirror on the map instead (x -> S / stride
                    - 1 - x); `targets.on_map` takes keypoints to where they have them.
                partial: bool [B], optional: unlabelled keypoints may be in the frame all the same;
                    comes with corners (`targets.known_background`).
                Whatever else a data pipeline gives: masks a person, boxes, masks at other strides.
            Random numbers come from `net.make_rng("sample")`, which depends on seed and step.

        Returns:
            Float32 scalars by name, each with its factor. Their sum, "loss", is added outside.
        """

    # Testing: frames on the host, poses on the device, an image's poses on the host.

    @abc.abstractmethod
    def frame_shapes(
        self, image_shape: tuple[int, int], inference: Any
    ) -> tuple[tuple[int, int], ...]:
        """Height and width of an image's frames, one pair a test scale.

        Frames of equal shapes share batches and a compiled program.
        """

    @abc.abstractmethod
    def frames(
        self, image: np.ndarray, inference: Any, boxes: np.ndarray | None = None
    ) -> list[Frame]:
        """The frames of an image, any number of them; safe to call from many threads.

        Args:
            image: uint8 [H, W, 3], RGB.
            inference: the test procedure, an `inference_type`.
            boxes: float [M, 5], x, y, width, height and score in image pixels.

        Raises:
            InputError: the method needs boxes and there are none.
        """

    @abc.abstractmethod
    def poses(self, net: Any, frames: FrameBatch, inference: Any) -> Stages:
        """The whole test procedure on a batch of frames: network, mirror, decoding, grouping.

        Args:
            net: the bound network, made with `Compute(folded=True)`.
            frames: pixels, for every test scale uint8 [B, H, W, 3]; matrix, float32 [B, 2, 3].
            inference: the test procedure, an `inference_type`.

        Returns:
            By the names of `stages` padded poses, [B, N, K, 3] and so on, in frame pixels at
            scale 1. What is found in one frame never depends on other frames of the batch.
        """

    def image_poses(
        self, found: Sequence[dict[str, Poses]], frames: Sequence[Frame], inference: Any
    ) -> dict[str, Poses]:
        """An image's poses from those of its frames.

        Args:
            found: of every frame by stage, in image pixels, best first.
            frames: as `frames` gave them; their pixels may be gone.
            inference: the test procedure, an `inference_type`.

        Returns:
            By the names of `stages`, best first.
        """
        del frames, inference
        (only,) = found
        return only

    # Weights and size.

    def state_dict_entry(self, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
        """How a leaf of the variables stands in the released code's state dict.

        Args:
            path: of the leaf: collection, layers, leaf.
            shape: of the leaf.

        Returns:
            Names and layout. By default the layers' names joined by dots, torch's leaf names and
            torch's layouts: layers best carry the released names from the start.
        """
        return torch_entry(path, shape)

    def state_dict_constants(self) -> dict[str, np.ndarray]:
        """What the released code's state dict holds beside variables: always the same arrays."""
        return {}

    @abc.abstractmethod
    def modules(self, shape: tuple[int, int]) -> dict[str, CountedModule]:
        """The parts that complexity is counted for, on one frame of height and width `shape`."""


class BottomUp(Method):
    """A method that finds everybody in one frame, the resized image."""

    inference_type: ClassVar[type[InferenceConfig]] = BottomUpInference

    def frame_shapes(
        self, image_shape: tuple[int, int], inference: Any
    ) -> tuple[tuple[int, int], ...]:
        """The image with its short side `input_size`, times every scale."""
        height, width = resized_shape(*image_shape, inference.input_size)
        return tuple((int(height * scale), int(width * scale)) for scale in inference.scales)

    def frames(
        self, image: np.ndarray, inference: Any, boxes: np.ndarray | None = None
    ) -> list[Frame]:
        """One frame, the whole image."""
        del boxes
        shapes = self.frame_shapes((image.shape[0], image.shape[1]), inference)
        return [resized_frame(image, shapes, inference.scales.index(1.0))]


def init_variables(method: Method, seed: int = 0) -> Variables:
    """The variables that a training starts from, by the rules on the network's layers.

    Returns:
        NumPy arrays, float32, under "params" and, if there is any, "batch_stats".
    """
    return initializers.draw_variables(method.network(), seed)


def abstract_variables(method: Method, *, folded: bool = False) -> Variables:
    """The shapes and dtypes of a network's variables; nothing is compiled or computed."""
    return initializers.abstract_variables(method.network(Compute(folded=folded)))
