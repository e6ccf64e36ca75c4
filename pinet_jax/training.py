"""Training: the state, one pure step, the learning rate, and how both lie on the devices.

Legend for shapes: B images of a batch, P people (padded), K keypoints, S the input's side.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Literal, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from pinet_jax import losses
from pinet_jax.errors import InputError
from pinet_jax.inference import cpu_compiler_options
from pinet_jax.losses import LossConfig
from pinet_jax.models.config import BatchNormConfig, PINetConfig
from pinet_jax.models.pinet import Outputs, PINet, Variables, normalize
from pinet_jax.targets import render_targets

DeviceBatch = dict[str, jax.Array]  # image, keypoints, area, valid_mask, as the pipeline makes them
Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """Adam without weight decay, and its learning rate; as it stands, the paper's for OCHuman."""

    # "muon" needs fewer images from a random start (see `make_optimizer`); the paper has Adam.
    method: Literal["adam", "muon"] = "adam"
    learning_rate: float = 1e-3
    schedule: Literal["step", "cosine"] = "step"  # cosine ends at 0
    drops: tuple[float, ...] = (90, 120)  # epochs at which "step" divides the rate by 10
    warmup_epochs: float = 0  # the rate rises linearly through so many epochs
    gradient_clip: float | None = None  # the greatest norm of all gradients together


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; as it stands, the paper's way for OCHuman."""

    batch_size: int = 20  # of all devices and processes together
    epochs: float = 140
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    batch_norm: BatchNormConfig = BatchNormConfig()
    # Parts a batch is worked off in, one after the other, with one step at the end: for batches
    # that the devices cannot hold. Batch statistics and losses are then those of the parts.
    accumulate: int = 1
    ema_decay: float | None = None  # of a moving average of the network, tested instead of it
    bfloat16: bool = False  # compute of backbone and graph; an accelerator is faster with it
    remat: bool = False  # compute the backbone's inner results twice, to save memory
    seed: int = 0  # of the network's start, the data's order and augmentation


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
        step: int32, the steps taken.
        params: of the network.
        batch_stats: of the network.
        opt_state: the optimizer's moments.
        average: the moving average of params and batch_stats, or nothing.
    """

    step: jax.Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    average: Variables | None

    @property
    def tested(self) -> Variables:
        """The variables to test and to keep: the average if there is one."""
        return self.average or {"params": self.params, "batch_stats": self.batch_stats}

    @property
    def rest(self) -> dict[str, Any]:
        """What `tested` lacks of the state: see `join`."""
        rest = {"step": self.step, "opt_state": self.opt_state}
        if self.average is not None:
            rest |= {"params": self.params, "batch_stats": self.batch_stats}
        return rest

    @classmethod
    def join(cls, tested: Variables, rest: Mapping[str, Any]) -> TrainState:
        """The state whose two halves these are."""
        has_average = "params" in rest
        network = rest if has_average else tested
        return cls(
            step=rest["step"],
            params=network["params"],
            batch_stats=network["batch_stats"],
            opt_state=rest["opt_state"],
            average=tested if has_average else None,
        )


TrainStep = Callable[[TrainState, DeviceBatch], tuple[TrainState, Metrics]]


class Training(NamedTuple):
    """A recipe made ready: what `train_step` needs to know beside state and batch.

    Attributes:
        model: the network.
        config: the recipe.
        schedule: the learning rate of a step.
        optimizer: what turns gradients into updates.
    """

    model: PINet
    config: TrainingConfig
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation

    @classmethod
    def make(
        cls, model_config: PINetConfig, config: TrainingConfig, steps_per_epoch: float
    ) -> Training:
        """Makes the parts from their configs."""
        dtype = jnp.bfloat16 if config.bfloat16 else jnp.float32
        model = PINet(model_config, dtype=dtype, batch_norm=config.batch_norm, remat=config.remat)
        schedule = learning_rate(config.optimizer, config.epochs, steps_per_epoch)
        return cls(model, config, schedule, make_optimizer(config.optimizer, schedule))

    def init_state(self, variables: Variables) -> TrainState:
        """The state before the first step; its arrays are the host's."""
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables["batch_stats"],
            opt_state=self.optimizer.init(variables["params"]),
            average=None if self.config.ema_decay is None else dict(variables),
        )


def make_optimizer(
    config: OptimizerConfig, schedule: optax.Schedule
) -> optax.GradientTransformation:
    """Adam or Muon, behind the clip.

    Muon moves a hidden layer's weights by the orthogonal matrix nearest to their momentum, scaled
    to the size of Adam's steps. What is no matrix, what puts out results, and refinement's first
    layer (`gconv_head`) are Adam's; both look ahead as Nesterov does.

    References:
        Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024; the scale
        from Liu et al., Muon is scalable for LLM training, 2025.
    """
    if config.method == "adam":
        optimizer = optax.adam(schedule)
    else:
        optimizer = optax.contrib.muon(
            schedule, consistent_rms=0.2, muon_weight_dimension_numbers=_hidden_matrices
        )
    if config.gradient_clip is None:
        return optimizer
    return optax.chain(optax.clip_by_global_norm(config.gradient_clip), optimizer)


def _hidden_matrices(params: dict[str, Any]) -> dict[str, Any]:
    """How Muon sees each parameter as a matrix; None where it does not."""

    def matrix(path: tuple[Any, ...], x: jax.Array) -> optax.contrib.MuonDimensionNumbers | None:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        if not name.endswith(("kernel", "weight")) or "_head/" in name or "gconv_pred.3/" in name:
            return None
        return optax.contrib.MuonDimensionNumbers(tuple(range(x.ndim - 1)), x.ndim - 1)

    return jax.tree_util.tree_map_with_path(matrix, params)


def learning_rate(config: OptimizerConfig, epochs: float, steps_per_epoch: float) -> optax.Schedule:
    """The learning rate as a function of the step."""
    if config.schedule == "step":
        steps = [int(np.ceil(epoch * steps_per_epoch)) for epoch in config.drops]
        rate = optax.piecewise_constant_schedule(config.learning_rate, dict.fromkeys(steps, 0.1))
    else:
        steps_in_all = max(int(np.ceil(epochs * steps_per_epoch)), 1)
        rate = optax.cosine_decay_schedule(config.learning_rate, steps_in_all)
    warmup = max(config.warmup_epochs * steps_per_epoch, 1)

    def schedule(step: jax.typing.ArrayLike) -> jax.Array:
        taken = jnp.asarray(step).astype(jnp.float32)
        return rate(taken) * jnp.minimum((taken + 1) / warmup, 1)

    return schedule


def train_step(
    training: Training, state: TrainState, batch: DeviceBatch
) -> tuple[TrainState, Metrics]:
    """One step: targets, network, losses, gradients, optimizer.

    Pure; jit it with `compile_train_step`.

    Args:
        training: the recipe.
        state: before the step.
        batch: image uint8 [B, S, S, 3], keypoints float32 [B, P, K, 3] in map pixels, area
            float32 [B, P], valid_mask uint8 [B, S / 4, S / 4].

    Returns:
        The state after it, and scalars: loss (all), point, offset and refinement (each with its
        factor), gradient_norm, learning_rate.
    """
    gradients, batch_stats, metrics = _gradients(training, state, batch)
    with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of int32
        updates, opt_state = training.optimizer.update(gradients, state.opt_state, state.params)
    params = cast(dict[str, Any], optax.apply_updates(state.params, updates))
    metrics["gradient_norm"] = optax.tree.norm(gradients)
    metrics["learning_rate"] = jnp.asarray(training.schedule(state.step), jnp.float32)
    average = state.average
    if average is not None:
        assert training.config.ema_decay is not None
        # A young average follows faster: the first network is noise.
        age = state.step.astype(jnp.float32)
        share = 1 - jnp.minimum(training.config.ema_decay, (1 + age) / (10 + age))
        new = {"params": params, "batch_stats": batch_stats}
        average = jax.tree.map(lambda held, x: held + share * (x - held), average, new)
    return TrainState(state.step + 1, params, batch_stats, opt_state, average), metrics


def _gradients(
    training: Training, state: TrainState, batch: DeviceBatch
) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
    """Gradients, new batch statistics and metrics; of the batch's parts, one after the other."""

    def gradients_of(batch_stats: dict[str, Any], part: DeviceBatch) -> Any:
        loss = jax.grad(compute_losses, argnums=1, has_aux=True)
        gradients, (batch_stats, metrics) = loss(training, state.params, batch_stats, part)
        return batch_stats, gradients, metrics

    count = training.config.accumulate
    if count == 1:
        batch_stats, gradients, metrics = gradients_of(state.batch_stats, batch)
        return gradients, batch_stats, metrics

    def add_part(carry: Any, part: DeviceBatch) -> Any:
        batch_stats, total = carry
        batch_stats, gradients, metrics = gradients_of(batch_stats, part)
        return (batch_stats, jax.tree.map(jnp.add, total, gradients)), metrics

    # Every part takes images from all over the batch, so that every device has its share of it.
    parts = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)
    start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params))
    (batch_stats, total), metrics = jax.lax.scan(add_part, start, parts)
    mean = jax.tree.map(lambda x: x / count, total)
    return mean, batch_stats, jax.tree.map(lambda x: x.mean(axis=0), metrics)


def compute_losses(
    training: Training, params: dict[str, Any], batch_stats: dict[str, Any], batch: DeviceBatch
) -> tuple[jax.Array, tuple[dict[str, Any], Metrics]]:
    """The losses of a batch in training mode.

    Returns:
        Their sum, and as its company the new batch statistics and the single losses.
    """
    model, config = training.model, training.config.loss
    render = partial(
        render_targets, partition=model.config.parts, min_part_area=config.min_part_area
    )
    targets = jax.vmap(render)(batch["keypoints"], batch["area"], batch["valid_mask"])

    def apply(batch_stats: dict[str, Any], *inputs: Any, **options: Any) -> Any:
        variables = {"params": params, "batch_stats": batch_stats}
        out, new = model.apply(variables, *inputs, train=True, mutable=["batch_stats"], **options)
        return out, new["batch_stats"]

    outputs, batch_stats = apply(batch_stats, normalize(batch["image"]))
    features, maps = cast(Outputs, outputs)
    metrics = {
        "point": config.point_factor * losses.point_loss(maps, targets),
        "offset": config.offset_factor
        * losses.offset_loss(maps.offset, targets.offset, targets.offset_weight),
    }
    if model.config.refinement is not None:
        proposals = losses.sample_proposals(targets, config)
        poses = losses.coarse_poses(maps, proposals)
        b, s, n, _ = proposals.yx.shape
        centers, mask = proposals.yx.reshape(b, s * n, 2), proposals.mask.reshape(b, s * n)
        delta, batch_stats = apply(
            batch_stats, features, poses, centers, mask=mask, method="refine"
        )
        loss = losses.refinement_loss(delta, maps, targets, proposals)
        metrics["refinement"] = config.refinement_factor * loss
    metrics["loss"] = sum(metrics.values(), start=jnp.zeros((), metrics["point"].dtype))
    return metrics["loss"], (batch_stats, metrics)


def make_mesh(devices: list[jax.Device] | None = None) -> Mesh:
    """All devices of all processes in a row, along the axis "data"."""
    devices = devices or jax.devices()
    return jax.make_mesh((len(devices),), ("data",), axis_types=(AxisType.Auto,), devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """Every device holds the whole array: the state."""
    return NamedSharding(mesh, PartitionSpec())


def split_by_image(mesh: Mesh) -> NamedSharding:
    """Every device holds its images: a batch."""
    return NamedSharding(mesh, PartitionSpec("data"))


def compile_train_step(training: Training, mesh: Mesh) -> TrainStep:
    """The step as one program for all devices; it eats the state it is given."""
    whole, split = replicated(mesh), split_by_image(mesh)
    return jax.jit(
        lambda state, batch: train_step(training, state, batch),
        in_shardings=(whole, split),
        out_shardings=whole,
        donate_argnums=0,
        compiler_options=cpu_compiler_options(),
    )


def check_batch_size(config: TrainingConfig, devices: int) -> None:
    """Refuses a batch that devices, parts or groups cannot share.

    Raises:
        InputError: the batch size is no multiple of what it has to be.
    """
    if config.batch_size < 1 or config.batch_size % (devices * config.accumulate):
        raise InputError(
            f"batch_size {config.batch_size}: must be a multiple of the {devices} devices x "
            f"accumulate {config.accumulate}"
        )
    group, part = config.batch_norm.group_size, config.batch_size // config.accumulate
    if group is not None and (group < 1 or part % group):
        raise InputError(
            f"batch_norm.group_size {group}: must divide the {part} images that are worked off "
            "at once"
        )
