"""Training: the state, one pure step, and what a batch may be.

The method gives network and losses; nothing here knows which one it is.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from flax import linen as nn
from jax.sharding import Mesh

from pinet_jax.errors import InputError
from pinet_jax.methods.base import Batch, Method
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.layers import BatchNormConfig, Compute
from pinet_jax.optimizers import OptimizerConfig, learning_rate, make_optimizer
from pinet_jax.runtime import compiler_options, platform_of, replicated, split_by_image

Metrics = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a network is trained; by default the paper's way for OCHuman."""

    batch_size: int = 20  # of all devices and processes together
    epochs: float = 140  # of the data; fractions are allowed
    optimizer: OptimizerConfig = OptimizerConfig()
    batch_norm: BatchNormConfig = BatchNormConfig()
    # Shares a batch is worked off in, one after the other, with one step at the end: for batches
    # that the devices cannot hold. Batch statistics and losses are then those of the shares.
    accumulate: int = 1
    ema_decay: float | None = None  # of a moving average of the network, tested instead of it
    bfloat16: bool = False  # compute of hidden layers; an accelerator is faster with it
    remat: bool = False  # compute the backbone's inner results twice, to save memory
    seed: int = 0  # of the network's start, the data's order and augmentation


class TrainState(NamedTuple):
    """All that a step changes.

    Attributes:
        step: int32, the steps taken.
        params: of the network.
        batch_stats: of the network; empty where it has none.
        opt_state: the optimizer's moments.
        average: the moving average of params and batch_stats, or nothing.
    """

    step: jax.Array
    params: dict[str, Any]
    batch_stats: dict[str, Any]
    opt_state: optax.OptState
    average: Variables | None

    @property
    def network_variables(self) -> Variables:
        """The variables that are trained."""
        return _variables(self.params, self.batch_stats)

    @property
    def test_variables(self) -> Variables:
        """The variables to test and to keep: the average if there is one."""
        return self.network_variables if self.average is None else self.average

    @property
    def training_variables(self) -> dict[str, Any]:
        """What a checkpoint holds beside `test_variables`; `from_checkpoint` takes both."""
        variables = {"step": self.step, "opt_state": self.opt_state}
        return variables if self.average is None else variables | self.network_variables

    @classmethod
    def from_checkpoint(cls, test: Variables, training: Mapping[str, Any]) -> TrainState:
        """The state whose `test_variables` and `training_variables` are given."""
        has_average = "params" in training
        network = training if has_average else test
        return cls(
            step=training["step"],
            params=network["params"],
            batch_stats=network.get("batch_stats", {}),
            opt_state=training["opt_state"],
            average=test if has_average else None,
        )


TrainStep = Callable[[TrainState, Batch], tuple[TrainState, Metrics]]


class Training(NamedTuple):
    """A recipe made ready: what `train_step` needs to know beside state and batch.

    Attributes:
        method: whose losses are minimised.
        network: its network, in training mode.
        config: the recipe.
        schedule: the learning rate of a step.
        optimizer: what turns gradients into updates.
    """

    method: Method
    network: nn.Module
    config: TrainingConfig
    schedule: optax.Schedule
    optimizer: optax.GradientTransformation

    @classmethod
    def make(
        cls,
        method: Method,
        config: TrainingConfig,
        steps_per_epoch: float,
        *,
        shift: int = 0,
        dtype: Any = None,
    ) -> Training:
        """Makes network, schedule and optimizer.

        Args:
            method: what is trained.
            config: the recipe.
            steps_per_epoch: of the data.
            shift: steps that were taken beyond those of today's batch size for the same images; see
                `experiments.training.progress`.
            dtype: of hidden layers; by default what the config says.
        """
        compute = Compute(
            dtype=dtype or (jnp.bfloat16 if config.bfloat16 else jnp.float32),
            train=True,
            batch_norm=config.batch_norm,
            remat=config.remat,
        )
        schedule = learning_rate(config.optimizer, config.epochs, steps_per_epoch, shift)
        optimizer = make_optimizer(config.optimizer, schedule, method.output_layers)
        return cls(method, method.network(compute), config, schedule, optimizer)

    def init_state(self, variables: Variables) -> TrainState:
        """The state before the first step; its arrays are the host's."""
        return TrainState(
            step=jnp.zeros((), jnp.int32),
            params=variables["params"],
            batch_stats=variables.get("batch_stats", {}),
            opt_state=self.optimizer.init(variables["params"]),
            average=None if self.config.ema_decay is None else dict(variables),
        )


def train_step(training: Training, state: TrainState, batch: Batch) -> tuple[TrainState, Metrics]:
    """One step: targets, network, losses, gradients, optimizer.

    Pure; jit it with `compile_train_step`.

    Args:
        training: the recipe.
        state: before the step.
        batch: see `Method.losses`; all arrays have the images as their first axis.

    Returns:
        The state after it, and scalars: loss (all), the method's losses (each with its factor),
        gradient_norm, learning_rate.
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
        average = optax.incremental_update(_variables(params, batch_stats), average, share)
    return TrainState(state.step + 1, params, batch_stats, opt_state, average), metrics


def _variables(params: dict[str, Any], batch_stats: dict[str, Any]) -> Variables:
    return {"params": params} | ({"batch_stats": batch_stats} if batch_stats else {})


def _gradients(
    training: Training, state: TrainState, batch: Batch
) -> tuple[dict[str, Any], dict[str, Any], Metrics]:
    """Gradients, new batch statistics and metrics; of the batch's shares, one after the other."""
    seed = jax.random.fold_in(jax.random.key(training.config.seed), state.step)

    def gradients_of(batch_stats: dict[str, Any], share: Batch, key: jax.Array) -> Any:
        loss = jax.grad(compute_losses, argnums=1, has_aux=True)
        gradients, (batch_stats, metrics) = loss(training, state.params, batch_stats, share, key)
        return batch_stats, gradients, metrics

    count = training.config.accumulate
    if count == 1:
        batch_stats, gradients, metrics = gradients_of(state.batch_stats, batch, seed)
        return gradients, batch_stats, metrics

    def add_share(carry: Any, share_and_key: Any) -> Any:
        batch_stats, total = carry
        batch_stats, gradients, metrics = gradients_of(batch_stats, *share_and_key)
        return (batch_stats, jax.tree.map(jnp.add, total, gradients)), metrics

    # Every share takes images from all over the batch, so that every device has its part of it.
    shares = jax.tree.map(lambda x: x.reshape(-1, count, *x.shape[1:]).swapaxes(0, 1), batch)
    start = (state.batch_stats, jax.tree.map(jnp.zeros_like, state.params))
    (batch_stats, total), metrics = jax.lax.scan(
        add_share, start, (shares, jax.random.split(seed, count))
    )
    mean = jax.tree.map(lambda x: x / count, total)
    return mean, batch_stats, jax.tree.map(lambda x: x.mean(axis=0), metrics)


def compute_losses(
    training: Training,
    params: dict[str, Any],
    batch_stats: dict[str, Any],
    batch: Batch,
    key: jax.Array,
) -> tuple[jax.Array, tuple[dict[str, Any], Metrics]]:
    """The losses of a batch in training mode.

    Returns:
        Their sum, and beside it the new batch statistics and the single losses.

    Raises:
        InputError: the batch lacks an array that the method needs.
    """
    missing = [name for name in training.method.batch_arrays if name not in batch]
    if missing:
        raise InputError(f"the data give no {', '.join(missing)}, which the method is trained on")
    losses = nn.apply(training.method.losses, training.network, mutable=["batch_stats"])
    variables = _variables(params, batch_stats)
    metrics, updated = losses(variables, batch, rngs={"sample": key})
    metrics["loss"] = functools.reduce(jnp.add, metrics.values())
    return metrics["loss"], (updated.get("batch_stats", {}), metrics)


def compile_train_step(training: Training, mesh: Mesh) -> TrainStep:
    """The step as one program for all devices; it donates the state that it is given."""
    if platform_of(mesh) == "tpu":
        training = training._replace(network=for_tpus(training.network, mesh))
    whole, split = replicated(mesh), split_by_image(mesh)
    return jax.jit(
        lambda state, batch: train_step(training, state, batch),
        in_shardings=(whole, split),
        out_shardings=whole,
        donate_argnums=0,
        compiler_options=compiler_options(platform_of(mesh)),
    )


def for_tpus(network: Any, mesh: Mesh) -> nn.Module:
    """The same network with its maps in blocks; see `networks/blocks.py`."""
    return network.clone(compute=dataclasses.replace(network.compute, tpus=mesh))


def check_batch_size(config: TrainingConfig, devices: int) -> None:
    """Refuses a batch that devices, shares or groups cannot divide.

    Raises:
        InputError: the batch size is no multiple of what it has to be.
    """
    if config.batch_size < 1 or config.batch_size % (devices * config.accumulate):
        raise InputError(
            f"batch_size {config.batch_size}: must be a multiple of the {devices} devices x "
            f"accumulate {config.accumulate}"
        )
    group, share = config.batch_norm.group_size, config.batch_size // config.accumulate
    if group is not None and (group < 1 or share % group):
        raise InputError(
            f"batch_norm.group_size {group}: must divide the {share} images that are worked off "
            "at once"
        )
