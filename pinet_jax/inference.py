"""Images in, poses out: one compiled program for every frame size.

Legend for shapes: B frames of a batch, K keypoints, N poses.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from pinet_jax.errors import InputError
from pinet_jax.frames import Frame, FrameBatch, restore_points, stack_frames
from pinet_jax.methods.base import InferenceConfig, Method, Stages
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.layers import Compute
from pinet_jax.packing import run_packed
from pinet_jax.pixel_arrays import rgb_pixels
from pinet_jax.poses import Poses, PoseSet
from pinet_jax.runtime import compiler_options, platform_of, replicated, split_by_image

Key = TypeVar("Key")


def infer(
    method: Method, inference: InferenceConfig, variables: Variables, frames: FrameBatch
) -> Stages:
    """A method's whole test procedure on frames of one shape; pure, and static in shape.

    Args:
        method: the method.
        inference: the procedure.
        variables: of the network, folded.
        frames: a batch.

    Returns:
        Padded poses of every stage, in frame pixels at scale 1.
    """
    dtype = jnp.bfloat16 if inference.bfloat16 else jnp.float32
    network = method.network(Compute(dtype=dtype, folded=True))
    return nn.apply(method.poses, network)(variables, frames, inference)


def compile_inference(
    method: Method, inference: InferenceConfig, mesh: Mesh
) -> Callable[[Variables, FrameBatch], Stages]:
    """`infer` as one program, in which each of several devices works on its own frames."""

    def program(variables: Variables, frames: FrameBatch) -> Stages:
        return infer(method, inference, variables, frames)

    return jax.jit(
        jax.shard_map(program, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")),
        in_shardings=(replicated(mesh), split_by_image(mesh)),
        compiler_options=compiler_options(platform_of(mesh)),
    )


class Prepared(NamedTuple):
    """Images made ready for the device.

    Attributes:
        batches: full ones of all images' frames, the last one padded.
        frames: every image's, without pixels.
    """

    batches: list[FrameBatch]
    frames: list[list[Frame]]


class Predictor:
    """A network ready for images of any size.

    Every frame size and batch size compiles once. The variables live on the devices, with their
    normalisations folded into the layers before them. Of several devices each works on its own
    frames of a batch, and asks nothing of the others.
    """

    def __init__(
        self,
        method: Method,
        variables: Variables,
        inference: InferenceConfig | None = None,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Folds the variables and puts them on the devices.

        Args:
            method: the method.
            variables: its network's "params" and "batch_stats".
            inference: the test procedure, by default the method's own.
            devices: of this process, to share every batch; the first one alone if None.

        Raises:
            TypeError: the test procedure is another method's.
        """
        self.method = method
        self.inference = inference or method.inference_type()
        if not isinstance(self.inference, method.inference_type):
            raise TypeError(f"{self.inference} is not a {method.inference_type.__name__}")
        self.skeleton = method.skeleton
        self.devices = list(devices or jax.local_devices()[:1])
        mesh = Mesh(np.array(self.devices), ("data",))
        self._num_devices = mesh.size
        self._everywhere, self._by_frame = replicated(mesh), split_by_image(mesh)
        self.use(variables)

        self._program = compile_inference(method, self.inference, mesh)

    def use(self, variables: Variables) -> None:
        """Takes other variables of the same network; nothing is compiled anew."""
        self._variables = jax.device_put(fold_batch_norm(variables), self._everywhere)

    def frame_shapes(self, image_shape: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        """Height and width of an image's frames at every scale, which decides what batches with it.

        Args:
            image_shape: height and width of the image.
        """
        return self.method.frame_shapes(image_shape, self.inference)

    def frames(self, image: np.ndarray, boxes: np.ndarray | None = None) -> list[Frame]:
        """An image's frames, for `predict_stream`; see `Method.frames`, and `rgb_pixels`.

        Raises:
            InputError: the image is no uint8 array of pixels, or a box is none.
        """
        return self.method.frames(rgb_pixels(image), self.inference, boxes)

    def predict(self, image: np.ndarray, boxes: np.ndarray | None = None) -> Poses:
        """The poses of one image, best first, in its own pixels.

        Args:
            image: uint8 RGB [H, W, 3]; also grey or RGBA, see `pixel_arrays.rgb_pixels`.
            boxes: [M, 5], for methods that need them; see `Method.frames`.
        """
        (stages,) = self.predict_stages([image], boxes=None if boxes is None else [boxes])
        return stages["final"]

    def predict_batch(
        self,
        images: Sequence[np.ndarray],
        batch_size: int | None = None,
        boxes: Sequence[np.ndarray] | None = None,
    ) -> list[Poses]:
        """The poses of images that share their `frame_shapes`.

        Args:
            images: uint8 RGB [H, W, 3].
            batch_size: frames at a time; all at once if None.
            boxes: of every image, for methods that need them.

        Returns:
            An image's poses, best first, in its own pixels.
        """
        return [stages["final"] for stages in self.predict_stages(images, batch_size, boxes)]

    def predict_stages(
        self,
        images: Sequence[np.ndarray],
        batch_size: int | None = None,
        boxes: Sequence[np.ndarray] | None = None,
    ) -> list[dict[str, Poses]]:
        """As `predict_batch`, with the poses of every stage of the method."""
        return self.predict_prepared(self.prepare(images, batch_size, boxes))

    def prepare(
        self,
        images: Sequence[np.ndarray],
        batch_size: int | None = None,
        boxes: Sequence[np.ndarray] | None = None,
    ) -> Prepared:
        """Makes the frames of images that share their `frame_shapes`, in another thread perhaps.

        Args:
            images: uint8 [H, W, 3].
            batch_size: frames a batch, and more where the devices could not share it evenly; by
                default all frames are one batch.
            boxes: of every image, for methods that need them.

        Raises:
            InputError: an image is no uint8 array, the images do not share a shape, or there are no
                boxes where the method needs them.
        """
        makers = zip(images, boxes or itertools.repeat(None, len(images)), strict=True)
        made = [self.frames(image, own) for image, own in makers]
        frames = [frame for own in made for frame in own]
        shapes = {frame.shapes for frame in frames}
        if len(shapes) > 1:
            raise InputError(f"a batch takes images of one resized shape, not of {sorted(shapes)}")
        size = self._shareable(batch_size or max(len(frames), 1))
        batches = [stack_frames(frames[i : i + size], size) for i in range(0, len(frames), size)]
        return Prepared(batches, [[frame._replace(pixels=()) for frame in own] for own in made])

    def predict_prepared(self, prepared: Prepared) -> list[dict[str, Poses]]:
        """As `predict_stages`, of images that `prepare` made ready."""
        rows = (row for batch in prepared.batches for row in _rows(self.run(batch)))
        return [self._image_poses(frames, rows) for frames in prepared.frames]

    def program(self, frames: FrameBatch) -> Stages:
        """The compiled program: padded poses in frame pixels, on the devices that made them."""
        return self._program(self._variables, jax.device_put(frames, self._by_frame))

    def predict_stream(
        self, images: Iterable[tuple[Key, Sequence[Frame]]], batch_size: int
    ) -> Iterator[tuple[Key, dict[str, Poses]]]:
        """The poses of any number of images, whose frames fill batches together.

        Args:
            images: for each what it is called, and its `frames`; all frames of all images are
                of one shape.
            batch_size: frames a batch, and more where the devices could not share it evenly.

        Returns:
            For every image, in order, what it is called, and its poses as `predict_stages` has
            them.
        """
        size = self._shareable(batch_size)

        def start(frames: Sequence[Frame]) -> Stages:
            placed = jax.device_put(stack_frames(frames, size), self._by_frame)
            return self._program(self._variables, placed)

        named = (
            ((key, [frame._replace(pixels=()) for frame in frames]), frames)
            for key, frames in images
        )
        for (key, frames), rows in run_packed(named, start, size):
            yield key, self._image_poses(frames, rows)

    def run(self, frames: FrameBatch) -> Stages:
        """As `program`; waits for the poses, NumPy arrays."""
        return jax.device_get(self.program(frames))

    def _shareable(self, batch_size: int) -> int:
        """The next batch size that the devices can share evenly."""
        return -(-batch_size // self._num_devices) * self._num_devices

    def _image_poses(
        self, frames: Sequence[Frame], rows: Iterable[dict[str, PoseSet]]
    ) -> dict[str, Poses]:
        found = [
            {name: restored_poses(row[name], frame) for name in self.method.stages}
            for frame, row in zip(frames, rows, strict=False)
        ]
        return self.method.image_poses(found, frames, self.inference)


def restored_poses(poses: PoseSet, frame: Frame) -> Poses:
    """The poses of one frame without padding, in the image's pixels."""
    mask = np.asarray(poses.mask)
    keypoints = np.asarray(poses.keypoints)[mask]
    points = restore_points(keypoints[..., :2], frame.matrix)
    restored = np.concatenate([points, keypoints[..., 2:]], axis=-1)
    return Poses(restored.astype(np.float32), np.asarray(poses.scores)[mask])


def _rows(stages: dict[str, PoseSet]) -> Iterable[dict[str, PoseSet]]:
    """The frames of a batch one by one."""
    for row in range(len(stages["final"].mask)):
        yield jax.tree.map(lambda x, row=row: x[row], stages)


def default_batch_size(devices: Sequence[jax.Device]) -> int:
    """Frames at a time that keep devices busy: one each on CPUs, eight elsewhere."""
    return sum(1 if device.platform == "cpu" else 8 for device in devices)
