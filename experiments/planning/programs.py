"""The programs of an experiment, for devices that need not be there."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from data_pipelines.device_augmentation import Photograph
from data_pipelines.input_pipeline import empty_images
from data_pipelines.packs import MAX_PEOPLE, MAX_REGIONS
from data_pipelines.synthetic_crowds.crowds import crowd_batch
from experiments.configs.base import ExperimentConfig, PersonDataConfig
from experiments.training.packed import draw_batch
from pinet_jax.frames import FrameBatch
from pinet_jax.inference import compile_inference
from pinet_jax.methods.base import abstract_variables
from pinet_jax.training import Training, check_batch_size, compile_train_step

Shape = jax.ShapeDtypeStruct

_IMAGE_SHAPE = (512, 512)  # that inference is planned for: one frame of the usual size


def lower_train_step(config: ExperimentConfig, mesh: Mesh) -> Any:
    """The experiment's own train step, lowered; no data are needed.

    Raises:
        InputError: the batch size does not go with the devices.
    """
    check_batch_size(config.training, mesh.size)
    training = Training.make(config.model, config.training, steps_per_epoch=1)
    state = jax.eval_shape(training.init_state, abstract_variables(config.model))
    step: Any = compile_train_step(training, mesh)  # a jitted function
    return step.lower(state, batch_shapes(config))


def lower_inference(config: ExperimentConfig, mesh: Mesh, frames: int) -> Any:
    """The experiment's own test procedure, lowered.

    Args:
        config: the experiment.
        mesh: the devices.
        frames: of all devices together, from images of 512 x 512 pixels.
    """
    shapes = config.model.frame_shapes(_IMAGE_SHAPE, config.inference)
    batch = FrameBatch(
        tuple(_array(frames, *shape, 3, dtype=np.uint8) for shape in shapes),
        _array(frames, 2, 3),
    )
    variables = abstract_variables(config.model, folded=True)
    program: Any = compile_inference(config.model, config.inference, mesh)
    return program.lower(variables, batch)


def batch_shapes(config: ExperimentConfig) -> dict[str, Shape]:
    """The arrays of a training batch of all processes, as the experiment's data give them."""
    if config.packed is not None:
        return _packed_shapes(config)
    size, keypoints = config.training.batch_size, config.model.skeleton.num_keypoints
    if isinstance(config.data, PersonDataConfig):
        height, width = config.model.frame_shapes(_IMAGE_SHAPE, config.inference)[0]
        return {
            "image": _array(size, height, width, 3, dtype=np.uint8),
            "keypoints": _array(size, 1, keypoints, 3),
        }
    if config.synthetic is not None:
        render = partial(
            crowd_batch,
            config=config.synthetic.crowds,
            skeleton=config.model.skeleton,
            max_people=config.data.max_people,
        )
        return jax.eval_shape(render, jax.random.key(0), _array(size, dtype=np.int32))
    flagged = bool(config.data.mixture.partial)
    batch: dict[str, Any] = dict(empty_images(1, config.data, keypoints, partial=flagged))
    del batch["image_id"]  # stays on the host
    return {name: _array(size, *x.shape[1:], dtype=x.dtype) for name, x in batch.items()}


def _packed_shapes(config: ExperimentConfig) -> dict[str, Shape]:
    assert config.packed is not None
    side = config.packed.augmentation.size
    photos = Photograph(
        image=_array(1, side, side, 3, dtype=np.uint8),
        size=_array(1, 2),
        keypoints=_array(1, MAX_PEOPLE, config.model.skeleton.num_keypoints, 3),
        boxes=_array(1, MAX_PEOPLE, 4),
        ignored=_array(1, MAX_REGIONS, 4),
        partial=_array(1, dtype=np.bool_),
    )
    draw = partial(
        draw_batch,
        batch_size=config.training.batch_size,
        augmentation=config.packed.augmentation,
        skeleton=config.model.skeleton,
    )
    return dict(jax.eval_shape(draw, jax.random.key(0), _array(dtype=np.int32), photos, _array(1)))


def _array(*shape: int, dtype: Any = jnp.float32) -> Any:
    """Stands for an array where nothing is computed."""
    return jax.ShapeDtypeStruct(shape, dtype)
