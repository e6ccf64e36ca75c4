"""Boxes in, poses out: top-down methods on images of any size.

Legend for shapes: B crops of H x W pixels, N crops of one image, K keypoints.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from pinet_jax.boxes import Boxes, Crops
from pinet_jax.inference import Poses, cpu_compiler_options
from pinet_jax.methods.simple_baseline import TopDown
from pinet_jax.models.folding import fold_batch_norm
from pinet_jax.models.pinet import Variables
from pinet_jax.packing import run_packed

Key = TypeVar("Key")

_FEWEST_PEOPLE = 8  # crops of an image that the smallest program for people takes


class BoxPredictor:
    """A top-down network ready for the boxes of any images.

    Two programs are compiled: from a batch of crops to keypoints, and from an image's keypoints to
    people; the latter for 8 crops, 16, 32 and so on. Of several devices each works on its own crops
    of a batch.
    """

    def __init__(
        self,
        method: TopDown,
        variables: Variables,
        *,
        flip: bool = True,
        bfloat16: bool = False,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        """Folds the variables and puts them on the devices.

        Args:
            method: the method.
            variables: its network's "params" and "batch_stats".
            flip: average with the mirrored crop.
            bfloat16: compute of the network; an accelerator is faster with it.
            devices: of this process, to share every batch; the first one alone if None.
        """
        self.method = method
        self.skeleton = method.skeleton
        network = method.network(folded=True, dtype=jnp.bfloat16 if bfloat16 else jnp.float32)
        mesh = Mesh(np.array(devices or jax.local_devices()[:1]), ("data",))
        self.num_devices = mesh.size
        self._everywhere = NamedSharding(mesh, P())
        self._by_crop = NamedSharding(mesh, P("data"))
        self.use(variables)
        program = nn.apply(functools.partial(method.keypoints, flip=flip), network)
        self._keypoints = jax.jit(
            jax.shard_map(program, mesh=mesh, in_specs=(P(), P("data")), out_specs=P("data")),
            compiler_options=cpu_compiler_options(),
        )
        self._people = jax.jit(method.people)

    def use(self, variables: Variables) -> None:
        """Takes other variables of the same network; nothing is compiled anew."""
        self._variables = jax.device_put(fold_batch_norm(variables), self._everywhere)

    def prepare(self, image: np.ndarray, boxes: Boxes) -> Crops:
        """The crops of an image, uint8 RGB [H, W, 3]; in any thread."""
        return Crops.of_boxes(image, boxes, self.method.crop_shape)

    def predict(
        self, images: Iterable[tuple[Key, Crops]], batch_size: int
    ) -> Iterator[tuple[Key, Poses]]:
        """The poses of images, in their order; crops share batches, whatever image they are from.

        Args:
            images: what each is called, and its crops.
            batch_size: crops at a time, a multiple of the devices.

        Returns:
            What an image is called, and its poses, best first, in its own pixels.
        """
        named = (((key, crops), list(crops.pixels)) for key, crops in images)
        for (key, crops), keypoints in run_packed(named, self._run, batch_size):
            yield key, self._poses(crops, keypoints)

    def _run(self, pixels: np.ndarray) -> jax.Array:
        return self._keypoints(self._variables, jax.device_put(pixels, self._by_crop))

    def _poses(self, crops: Crops, keypoints: Any) -> Poses:
        """The people among an image's crops."""
        count, k = len(crops.scores), self.skeleton.num_keypoints
        if not count:
            return Poses(np.zeros((0, k, 3), np.float32), np.zeros(0, np.float32))
        room = max(_FEWEST_PEOPLE, 1 << (count - 1).bit_length())

        def padded(array: np.ndarray) -> np.ndarray:
            rows = [(0, room - count)] + [(0, 0)] * (array.ndim - 1)
            return np.pad(array.astype(np.float32), rows)

        arrays = crops.restored(keypoints), crops.scores, crops.area
        people = jax.device_get(self._people(*map(padded, arrays), np.arange(room) < count))
        return Poses(people.keypoints[people.mask], people.scores[people.mask])
