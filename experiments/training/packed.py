"""Training on packs of photographs and rendered crowds that lie whole in the devices' memory.

Legend for shapes: B images of a batch, N images of all sources, P people (padded), K keypoints, R
ignored regions (padded).
"""

from __future__ import annotations

import functools
import itertools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec, Sharding

from data_pipelines.annotations import Reading
from data_pipelines.device_augmentation import DeviceAugmentationConfig, Photograph, augment
from data_pipelines.packs import MAX_PEOPLE, MAX_REGIONS, Pack, read_pack
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import crowds
from experiments.configs.base import ExperimentConfig
from experiments.testing.image_sets import EvaluationSet, SetSource
from experiments.training.data import Batches
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import Batch
from pinet_jax.skeletons import Skeleton

_CROWD_SEED = 77  # of the rendered crowds: the same in every training


class PackedData:
    """Batches that are drawn and augmented on the devices; nothing is read between steps.

    Image i of step s is a pure function of (seed, s, i): the same after a restart, and for any
    number of devices and processes.
    """

    def __init__(self, config: ExperimentConfig) -> None:
        """Decodes the packs and renders the crowds.

        Raises:
            InputError: a pack is not there, broken, or has other keypoints.
        """
        assert config.packed is not None
        if not config.packed.packs and not config.packed.crowds:
            raise UsageError("packs: name at least one file of `pinet-jax pack`")
        self._config, self._packed = config, config.packed
        skeleton = config.model.skeleton
        packs = [read_pack(path, skeleton) for path in self._packed.packs]
        if self._packed.crowds:
            packs.append(render_pack(self._packed.crowds, self._packed.augmentation.size, skeleton))
        self._photos = stack_packs(packs, self._packed.partial)
        self._cumulative = cumulative_weights([len(p.ids) for p in packs], self._packed.all_weights)
        self.images_per_epoch = self._packed.epoch_images

    def batches(self, start_step: int, sharding: Sharding) -> Batches:
        """Batches from a step on, without end."""
        assert isinstance(sharding, NamedSharding)
        everywhere = NamedSharding(sharding.mesh, PartitionSpec())
        photos, cumulative = jax.device_put((self._photos, self._cumulative), everywhere)
        key = jax.random.key(self._config.training.seed)
        draw = jax.jit(
            functools.partial(
                draw_batch,
                batch_size=self._config.training.batch_size,
                augmentation=self._packed.augmentation,
                skeleton=self._config.model.skeleton,
            ),
            out_shardings=sharding,
        )
        for step in itertools.count(start_step):
            number = jax.device_put(np.int32(step), everywhere)
            yield draw(key, number, photos, cumulative), np.zeros(0, np.int64)

    def test_set(self, workdir: Path) -> EvaluationSet:
        """The file and folder that the config names.

        Raises:
            UsageError: it names none.
        """
        del workdir
        if self._packed.test_annotations is None:
            raise UsageError(
                "test_annotations: name a COCO-format file and test_images its folder, or set "
                "evaluate_every to 0"
            )
        reading = Reading(exif=self._packed.test_exif)
        annotations, images = self._packed.test_annotations, self._packed.test_images
        source = SetSource(annotations, images, reading=reading)
        return source.completed(None).open(self._config.model.skeleton)


def draw_batch(
    key: jax.Array,
    step: jax.Array,
    photos: Photograph,
    cumulative: jax.Array,
    *,
    batch_size: int,
    augmentation: DeviceAugmentationConfig,
    skeleton: Skeleton,
) -> Batch:
    """A training batch: images drawn by the weights of their sources, and augmented.

    Args:
        key: random key of the training's seed.
        step: int32, the number of the batch.
        photos: of all sources, fields with a leading axis N.
        cumulative: float32 [N], cumulative weights of the images.
        batch_size: B.
        augmentation: the ranges.
        skeleton: the keypoints.

    Returns:
        See `data_pipelines.device_augmentation.augment`, with a leading axis B.
    """

    def frame(place: jax.Array) -> Batch:
        for_choice, for_change = jax.random.split(
            jax.random.fold_in(jax.random.fold_in(key, step), place)
        )
        drawn = jax.random.uniform(for_choice) * cumulative[-1]
        row = jnp.minimum(jnp.searchsorted(cumulative, drawn, side="right"), len(cumulative) - 1)
        photo = jax.tree.map(lambda x: x[row], photos)
        return augment(for_change, photo, augmentation, skeleton)

    return jax.vmap(frame)(jnp.arange(batch_size))


def stack_packs(packs: list[Pack], partial_labels: tuple[bool, ...]) -> Photograph:
    """All images in squares of one size; a pack without a flag is labelled whole."""
    side = max(pack.images.shape[1] for pack in packs)

    def squares(images: np.ndarray) -> np.ndarray:
        rest = side - images.shape[1]
        return np.pad(images, ((0, 0), (0, rest), (0, rest), (0, 0)))

    flags = [*partial_labels, *[False] * (len(packs) - len(partial_labels))]
    partial = [np.full(len(p.ids), flag) for p, flag in zip(packs, flags, strict=True)]
    fields = {
        "image": [squares(pack.images) for pack in packs],
        "size": [pack.sizes for pack in packs],
        "keypoints": [pack.keypoints for pack in packs],
        "boxes": [pack.boxes for pack in packs],
        "ignored": [pack.ignored for pack in packs],
        "partial": partial,
    }
    return Photograph(**{name: jnp.concatenate(arrays) for name, arrays in fields.items()})


def cumulative_weights(counts: list[int], weights: tuple[float, ...]) -> np.ndarray:
    """Cumulative weights of images [N], such that a source's images share its weight evenly."""
    each = [np.full(n, weight / n) for n, weight in zip(counts, weights, strict=True)]
    return np.cumsum(np.concatenate(each)).astype(np.float32)


def render_pack(count: int, size: int, skeleton: Skeleton) -> Pack:
    """Rendered crowds as a pack; people hidden almost wholly have no labels."""
    at_once = min(count, 4 if jax.default_backend() == "cpu" else 256)
    render = jax.jit(functools.partial(crowds, config=CrowdConfig(size=size), skeleton=skeleton))
    parts = []
    for start in range(0, count, at_once):
        made = render(jax.random.key(_CROWD_SEED), jnp.arange(start, start + at_once))
        parts.append(jax.device_get((made.image, made.keypoints, made.boxes, made.people)))
    image, keypoints, boxes, people = (
        np.concatenate(column)[:count] for column in zip(*parts, strict=True)
    )
    rows = ((0, 0), (0, MAX_PEOPLE - people.shape[1]))
    return Pack(
        images=image,
        sizes=np.full((count, 2), size, np.float32),
        keypoints=np.pad(keypoints * people[..., None, None], (*rows, (0, 0), (0, 0))),
        boxes=np.pad(boxes * people[..., None], (*rows, (0, 0))),
        ignored=np.zeros((count, MAX_REGIONS, 4), np.float32),
        ids=np.arange(count),
    )
