"""The training of the network that scores poses, on poses that are there already.

Legend for shapes: N poses, K keypoints, B poses of a step.

References:
    Geng et al., Bottom-Up Human Pose Estimation Via Disentangled Keypoint Regression, CVPR 2021,
    and its released code.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from pinet_jax.errors import UsageError
from pinet_jax.networks.rescoring import Rescoring, RescoringConfig


@dataclasses.dataclass(frozen=True)
class RescoringTraining:
    """The recipe; by default the released code's.

    Attributes:
        epochs: passes over all poses.
        batch_size: poses of a step; the rest of an epoch's poses is left out of it.
        learning_rate: of Adam.
        seed: of the first weights and of the order of the poses.
    """

    epochs: int = 20
    batch_size: int = 1024
    learning_rate: float = 1e-3
    seed: int = 0

    def __post_init__(self) -> None:
        """Raises UsageError where nothing would be trained."""
        for name in ("epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} {getattr(self, name)}: use 1 or more")


def train_rescoring(
    config: RescoringConfig,
    keypoints: np.ndarray,
    oks: np.ndarray,
    training: RescoringTraining = RescoringTraining(),
) -> tuple[dict[str, Any], np.ndarray]:
    """Trains the network to tell the OKS of a pose.

    The released code teaches 0 for an OKS of exactly 1, and shows a pose once for every area range
    of the evaluation that it counts in. Neither is done here.

    Args:
        config: what the network reads.
        keypoints: float [N, K, 3], x and y in image pixels, and score; N is 1 or more.
        oks: float [N], of the pose with the person that it fits best.
        training: the recipe.

    Returns:
        The network's parameters, and the mean squared error of every epoch, [epochs].
    """
    batch = min(training.batch_size, len(keypoints))
    steps = len(keypoints) // batch
    data = jnp.asarray(keypoints, jnp.float32), jnp.asarray(oks, jnp.float32)
    first, order = jax.random.split(jax.random.key(training.seed))
    network, optimizer = Rescoring(config), optax.adam(training.learning_rate)
    params = network.init(first, data[0][:1])["params"]

    def loss(params: Any, poses: jax.Array, target: jax.Array) -> jax.Array:
        told = jnp.asarray(network.apply({"params": params}, poses))
        return ((told - target) ** 2).mean()

    def step(state: Any, chosen: jax.Array) -> tuple[Any, jax.Array]:
        params, moments = state
        error, gradient = jax.value_and_grad(loss)(params, *(array[chosen] for array in data))
        with jax.numpy_dtype_promotion("standard"):  # optax raises floats to the power of int32
            change, moments = optimizer.update(gradient, moments)
        return (optax.apply_updates(params, change), moments), error

    def epoch(state: Any, key: jax.Array) -> tuple[Any, jax.Array]:
        chosen = jax.random.permutation(key, len(keypoints))[: steps * batch]  # [steps * B]
        state, errors = jax.lax.scan(step, state, chosen.reshape(steps, batch))
        return state, errors.mean()

    keys = jax.random.split(order, training.epochs)
    train = jax.jit(partial(jax.lax.scan, epoch))
    (params, _), errors = train((params, optimizer.init(params)), keys)
    return jax.device_get(params), np.asarray(errors)
