"""What a training is fed with: prepared records, or crowds rendered on the fly.

Legend for shapes: B images of a process's batch.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Sharding

from data_pipelines.config import DataConfig, PersonDataConfig
from experiments.configs.base import ExperimentConfig
from experiments.testing.image_sets import EvaluationSet, ImageSet, experiments_set
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import Batch
from pinet_jax.skeletons import Skeleton
from pinet_jax.threads import work_ahead

if TYPE_CHECKING:
    from data_pipelines.input_pipeline import Samples

Batches = Iterator[tuple[Batch, np.ndarray]]  # and the image ids of this process's rows, [B]

_BLOCK = 64  # batches of rendered crowds that are kept to be trained on again
_TEST_SEED = 2**20  # added to a training's seed, so that no test image is trained on


class TrainingData(Protocol):
    """Where batches come from; batch number `step` depends on the step and the seed alone."""

    images_per_epoch: int

    def batches(self, start_step: int, sharding: Sharding) -> Batches:
        """Batches from a step on, without end."""

    def test_set(self, workdir: Path) -> EvaluationSet:
        """What the network is tested on."""


def open_training_data(config: ExperimentConfig) -> TrainingData:
    """The data of an experiment.

    Raises:
        InputError: it is not there, or does not fit the network's keypoints.
        UsageError: the config's data are no data for its method.
    """
    if config.packed is not None:
        from experiments.training.packed import PackedData

        return PackedData(config)
    by_person = isinstance(config.data, PersonDataConfig)
    if by_person != config.model.needs_boxes:
        kind = "persons" if config.model.needs_boxes else "whole images"
        raise UsageError(f"{type(config.model).__name__} is trained on {kind}; give such data")
    if config.synthetic is not None:
        return SyntheticPersons(config) if by_person else SyntheticCrowds(config)
    return PreparedData(config)


class PreparedData:
    """Prepared sets, image by image or person by person, read and augmented in tf.data."""

    def __init__(self, config: ExperimentConfig) -> None:
        """Opens the sets to train on."""
        from experiments.training.sources import open_samples

        self._config, self._samples = config, open_samples(config)
        self.images_per_epoch = len(self._samples)

    def batches(self, start_step: int, sharding: Sharding) -> Batches:
        """Augmented batches from a step on, without end."""
        return _host_batches(self._samples, self._config, start_step, sharding)

    def test_set(self, workdir: Path) -> EvaluationSet:
        """The split to test on."""
        del workdir
        return experiments_set(self._config)


class SyntheticCrowds:
    """Crowds that are rendered while the network trains; there are no files."""

    def __init__(self, config: ExperimentConfig) -> None:
        """Notes what to render."""
        assert config.synthetic is not None
        self._config, self._synthetic = config, config.synthetic
        self.images_per_epoch = config.synthetic.epoch_images

    def batches(self, start_step: int, sharding: Sharding) -> Batches:
        """Batches from a step on, without end; a thread renders the next one meanwhile."""
        from data_pipelines.synthetic_crowds.crowds import crowd_batch

        assert isinstance(self._config.data, DataConfig)
        size = self._config.training.batch_size
        share = size // jax.process_count()
        first = jax.process_index() * share
        render = jax.jit(
            partial(
                crowd_batch,
                config=self._synthetic.crowds,
                skeleton=self._config.model.skeleton,
                max_people=self._config.data.max_people,
            )
        )
        mirror = jax.jit(partial(mirrored, skeleton=self._config.model.skeleton))
        key = jax.random.key(self._config.training.seed)
        kept: dict[int, dict[str, np.ndarray]] = {}

        def make(step: int) -> tuple[Batch, np.ndarray]:
            number, turn = crowds_of_step(step, self._synthetic.passes)
            ids = number * size + first + np.arange(share, dtype=np.int32)
            # After a restart they are not there, and are rendered again.
            made = kept.pop(number, None) or jax.device_get(render(key, jnp.asarray(ids)))
            if turn + 1 < self._synthetic.passes:
                kept[number] = made
            if turn % 2:
                made = jax.device_get(mirror(made))
            sent = {
                name: jax.make_array_from_process_local_data(sharding, array)
                for name, array in made.items()
            }
            return sent, ids

        # One thread, which keeps the crowds that come again, and works while the device trains.
        for _, ready in work_ahead(make, itertools.count(start_step), threads=1, ahead=1):
            yield ready

    def test_set(self, workdir: Path) -> EvaluationSet:
        """Crowds of another seed; their annotations go into the work folder."""
        from data_pipelines.synthetic_crowds import coco_format
        from data_pipelines.synthetic_crowds.crowds import Crowd, crowds

        config, skeleton = self._synthetic, self._config.model.skeleton
        seed = self._config.training.seed + _TEST_SEED
        render = jax.jit(partial(crowds, config=config.crowds, skeleton=skeleton))
        pixels: list[np.ndarray] = []
        images: list[dict[str, Any]] = []
        people: list[dict[str, Any]] = []
        for image_id in range(config.test_images):
            made = jax.device_get(render(jax.random.key(seed), jnp.asarray([image_id])))
            single = Crowd(*(array[0] for array in made))
            pixels.append(np.asarray(single.image))
            images.append(coco_format.image_entry(single, image_id, f"{image_id}.jpg"))
            people += coco_format.person_entries(single, image_id)
        content = coco_format.annotation_file(images, people, skeleton, config.crowds, seed)
        annotations = workdir / "test_annotations.json"
        annotations.write_text(json.dumps(content))
        shapes = [image.shape[:2] for image in pixels]
        found = ImageSet(list(range(len(pixels))), shapes, pixels.__getitem__)
        return EvaluationSet("synthetic crowds", found, annotations, skeleton)


class SyntheticPersons(SyntheticCrowds):
    """The same, person by person, for methods that need boxes."""

    def batches(self, start_step: int, sharding: Sharding) -> Batches:
        """Augmented crops from a step on, without end."""
        from experiments.training.sources import crowd_samples

        samples = crowd_samples(self._config, self._synthetic.crowds, self._synthetic.passes)
        return _host_batches(samples, self._config, start_step, sharding)


def _host_batches(
    samples: Samples, config: ExperimentConfig, start_step: int, sharding: Sharding
) -> Batches:
    """Batches that the host makes of samples, sent ahead of their use."""
    from data_pipelines import input_pipeline

    batches = input_pipeline.batches(
        samples,
        batch_size=config.training.batch_size,
        start_step=start_step,
        share=input_pipeline.Share(jax.process_index(), jax.process_count()),
    )
    return input_pipeline.prefetch_to_device(batches, sharding)


def crowds_of_step(step: int, passes: int) -> tuple[int, int]:
    """The number of the rendered batch that a step trains on, and how often it was before.

    A block of batches is gone through so many times, one after the other.
    """
    round_, place = divmod(step, _BLOCK)
    block, turn = divmod(round_, passes)
    return block * _BLOCK + place, turn


def mirrored(batch: Batch, skeleton: Skeleton) -> Batch:
    """A training batch (see `Method.losses`) with left and right exchanged."""
    keypoints = batch["keypoints"][:, :, np.array(skeleton.mirror_permutation)]  # [B, P, K, 3]
    x, rest = keypoints[..., :1], keypoints[..., 1:]
    last = batch["image"].shape[2] - 1  # the last pixel's centre
    x = jnp.where(keypoints[..., 2:] > 0, last - x, x)
    corners = batch["corners"][:, :, np.array([1, 0, 3, 2])]  # [B, P, 4, 2]
    return dict(batch) | {
        "image": batch["image"][:, :, ::-1],
        "keypoints": jnp.concatenate([x, rest], axis=-1),
        "corners": jnp.concatenate([last - corners[..., :1], corners[..., 1:]], axis=-1),
        "valid_mask": batch["valid_mask"][:, :, ::-1],
    }
