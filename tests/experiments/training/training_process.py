"""A training in float64, alone or as one of several processes that tests start side by side.

In float32, at the usual rate, two ways to add up a batch drift apart within a few steps, however
right both are: the smallest network multiplies any difference by ten to a hundred a step, since
Adam takes steps of the rate's size even where gradients are little but rounding. In float64 and at
a small rate the two stay together, and what is left of a difference is an error.
"""

import contextlib
import dataclasses
import sys
from functools import partial
from pathlib import Path
from typing import Literal, cast
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.config import DataConfig
from experiments.configs.base import ExperimentConfig
from experiments.training import sources, start
from experiments.training.loop import Stopped, train
from experiments.training.process import prepare_process
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.inputs import normalize
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.training import Training
from tests.data_pipelines.memory_records import make_records
from tests.tiny import MODEL, experiment

Source = Literal["records", "crowds"]


def config(epochs: float, source: Source = "records") -> ExperimentConfig:
    """Two steps an epoch; everybody is tall enough for refinement."""
    made = dataclasses.replace(
        experiment(epochs=epochs, optimizer=OptimizerConfig(learning_rate=1e-5), batch_size=8),
        model=dataclasses.replace(MODEL, min_part_area=1),
        data=DataConfig(input_size=64),
    )
    if source == "records":
        return dataclasses.replace(made, synthetic=None)
    assert made.synthetic is not None
    return dataclasses.replace(made, synthetic=dataclasses.replace(made.synthetic, epoch_images=16))


@contextlib.contextmanager
def float64_on_memory_records():
    """Trainings in here have float64 variables, compute with them, and read sixteen records."""
    make, init, shapes = Training.make, start.init_variables, start.abstract_variables

    losses = PINet.losses

    def losses_float64(method, net, batch):
        images = batch["image"]
        first, second = (normalize(jnp.full_like(images[:1, :1, :1], v)) for v in (0, 255))
        wide = {
            "image": first + images.astype(jnp.float64) / 255 * (second - first),
            "keypoints": batch["keypoints"].astype(jnp.float64),
            "area": batch["area"].astype(jnp.float64),
        }
        return losses(method, net, dict(batch) | wide)

    def init_float64(*arguments):
        return jax.tree.map(np.float64, init(*arguments))

    def shapes_float64(model):
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, np.float64), shapes(model))

    with (
        mock.patch.object(Training, "make", partial(make, dtype=jnp.float64)),
        mock.patch.object(start, "init_variables", init_float64),
        mock.patch.object(start, "abstract_variables", shapes_float64),
        mock.patch.object(PINet, "losses", losses_float64),
        mock.patch.object(sources, "open_split", lambda *_: make_records(16)),
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
    ):
        yield


def main(
    workdir: Path, source: Source, number: int, count: int, port: int, save_every: int
) -> None:
    """Trains without end as one of several processes, as the command does."""
    jax.distributed.initialize(
        f"127.0.0.1:{port}", count, number, cluster_detection_method="deactivate"
    )
    with float64_on_memory_records():
        prepare_process()
        endless = config(1000, source)
        loop = dataclasses.replace(endless.loop, save_every=save_every)
        with contextlib.suppress(Stopped):
            train(dataclasses.replace(endless, loop=loop), workdir)


if __name__ == "__main__":
    _, folder, kind, *numbers = sys.argv
    main(Path(folder), cast(Source, kind), *map(int, numbers))
