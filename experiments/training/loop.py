"""The training loop: steps, and the tests and checkpoints between them."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from experiments.configs.base import ExperimentConfig
from experiments.training.data import TrainingData, open_training_data
from experiments.training.log import TrainingLog
from experiments.training.process import (
    Interruption,
    connect,
    ends_with_its_peers,
    interruption,
)
from experiments.training.progress import Progress
from experiments.training.start import (
    InitialWeights,
    first_state,
    note_config,
    progress_of,
    restored_state,
)
from experiments.training.trace import Trace
from experiments.training.validation import Validation
from pinet_jax.checkpoints import TrainingCheckpoints
from pinet_jax.errors import InputError
from pinet_jax.files import only_one
from pinet_jax.runtime import make_mesh, memory_advice, split_by_image
from pinet_jax.training import (
    Metrics,
    Training,
    TrainState,
    check_batch_size,
    compile_train_step,
)


class Stopped(SystemExit):
    """The training was asked to stop, and everything that is to be kept has been written.

    A program that does not catch it ends with a status by which a scheduler tells that the training
    has not come to its end.
    """

    def __init__(self, number: int) -> None:
        """Takes the signal's number."""
        super().__init__(128 + number)  # as shells have it


def train(
    config: ExperimentConfig,
    workdir: Path,
    *,
    init: InitialWeights = InitialWeights(),
    devices: list[jax.Device] | None = None,
) -> TrainState:
    """Trains until the config's last epoch.

    Args:
        config: the experiment.
        workdir: its folder; a training that was begun there goes on.
        init: weights to start from.
        devices: to train on; all of all processes by default.

    Returns:
        The last state.

    Raises:
        InputError: something the user can mend; also where a loss is not finite any more.
        Stopped: SIGTERM or Ctrl-C came; the state was saved.
    """
    init.check()
    mesh = make_mesh(devices)
    check_batch_size(config.training, mesh.size)
    if jax.process_count() > 1:
        connect(mesh)
    data = open_training_data(config)
    size = config.training.batch_size
    advice = (
        f"with batches of {size}: take a smaller --training.batch-size, or --training.accumulate, "
        "--training.remat or --training.bfloat16"
    )
    with memory_advice(advice), contextlib.ExitStack() as held:
        if jax.process_index() == 0:
            held.enter_context(only_one(workdir, "training"))
        checkpoints = held.enter_context(contextlib.closing(_checkpoints(config, workdir)))
        progress = progress_of(config, data.images_per_epoch, checkpoints)
        training = Training.make(
            config.model, config.training, progress.steps_per_epoch, shift=progress.shift
        )
        if checkpoints.latest_step is None:
            state = first_state(config, training, mesh, init)
        else:
            state = restored_state(config, training, mesh, checkpoints)
        asked = held.enter_context(interruption())
        loop = _Loop(config, workdir, data, training, checkpoints, progress, asked)
        note_config(config, workdir)  # only now: what is refused changes nothing
        with ends_with_its_peers(checkpoints.folder):
            return loop.run(state, mesh)


def _checkpoints(config: ExperimentConfig, workdir: Path) -> TrainingCheckpoints:
    return TrainingCheckpoints(
        workdir / "checkpoints",
        config.model,
        config.inference,
        keep=config.loop.keep,
        training=config.training,
    )


class _Loop:
    """The steps of a training, and what is done between them."""

    def __init__(
        self,
        config: ExperimentConfig,
        workdir: Path,
        data: TrainingData,
        training: Training,
        checkpoints: TrainingCheckpoints,
        progress: Progress,
        interruption: Interruption,
    ) -> None:
        self._config, self._workdir, self._data = config, workdir, data
        self._training, self._checkpoints = training, checkpoints
        self._progress, self._interruption = progress, interruption
        self._last_step = progress.last_step(config.training.epochs)
        self._saved = checkpoints.latest_step
        # One process tests and draws; the others wait for its figures.
        self._leads = jax.process_index() == 0
        self._validation: Validation | None = None
        if config.loop.evaluate_every and self._leads:
            self._validation = Validation(config, data.test_set(workdir), workdir)

    def run(self, state: TrainState, mesh: jax.sharding.Mesh) -> TrainState:
        """Takes all steps that are left."""
        step = int(jax.device_get(state.step))
        self._log = TrainingLog(
            self._workdir,
            step=step,
            last_step=self._last_step,
            batch_size=self._config.training.batch_size,
            every=self._config.loop.log_every,
            writes=self._leads,
        )
        self._trace = Trace(self._workdir / "profile", self._config.loop.profile, self._log.say)
        with contextlib.closing(self._log), contextlib.closing(self._trace):
            if step and self._checkpoints.evaluation(step) is None and self._tests_at(step):
                self._test(step, state)  # it was stopped before, or in, this test
            take_step = compile_train_step(self._training, mesh)
            first = self._progress.batches(step)
            batches = self._data.batches(first, split_by_image(mesh))
            with contextlib.closing(batches):  # type: ignore[type-var]
                return self._steps(step, state, take_step, batches)

    def _steps(self, taken: int, state: TrainState, take_step: Any, batches: Any) -> TrainState:
        waiting: tuple[int, Metrics, np.ndarray] | None = None
        for step in range(taken + 1, self._last_step + 1):
            self._trace.before(step)
            batch, image_ids = next(batches)
            # Nothing may go to the device or come back unasked: the device would wait for it.
            with jax.transfer_guard("disallow"):
                state, metrics = take_step(state, batch)
            if waiting is not None:
                self._note(*waiting)  # the step before, while the device is busy with this one
            waiting = step, metrics, image_ids
            self._trace.after(step, metrics)
            stops = self._stops(step)
            pauses = stops or self._saves_at(step) or self._tests_at(step)
            # A state that has gone wrong is never saved. A step that has ended, as all have where
            # calls wait for it (`runtime.keep_freed_memory`), is noted now: its time is its own.
            if pauses or metrics["loss"].is_ready():
                self._note(*waiting)
                waiting = None
            if pauses:
                self._save(step, state)
                if stops:
                    self._stop(step)
                if self._tests_at(step):
                    self._test(step, state)
        if waiting is not None:
            self._note(*waiting)
        self._checkpoints.wait()
        return state

    def _note(self, step: int, metrics: Metrics, image_ids: np.ndarray) -> None:
        """Fetches the metrics of a step, and ends the training if they are not finite."""
        values = {key: float(value) for key, value in jax.device_get(metrics).items()}
        wrong = [key for key, value in values.items() if not math.isfinite(value)]
        if wrong:
            saved = "no checkpoint was saved before"
            if self._saved is not None:
                self._checkpoints.wait()
                saved = f"the last good checkpoint is {self._checkpoints.folder / str(self._saved)}"
            raise InputError(
                f"step {step}: {wrong[0]} is {values[wrong[0]]}; the batch's image ids are "
                f"{image_ids.tolist()}; {saved}; try a lower --training.optimizer.learning-rate, "
                "or --training.optimizer.gradient-clip"
            )
        self._log.step(step, self._epoch(step), values)

    def _save(self, step: int, state: TrainState) -> None:
        if self._saved != step:
            self._checkpoints.save(
                step,
                state.test_variables,
                state.training_variables,
                images_seen=self._progress.images(step),
            )
            self._saved = step

    def _test(self, step: int, state: TrainState) -> None:
        """Tests the state, which is saved, and stores the figures with it."""
        figures: dict[str, float | None] = {}
        if self._validation is not None:
            figures = self._validation.run(step, state.test_variables, lambda: self._check(step))
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"tested {step}")
        self._checkpoints.record_evaluation(step, figures)
        self._log.write(step, self._epoch(step), figures)
        ap = figures.get("AP")
        self._log.say(
            f"step {step}, epoch {self._epoch(step):.1f}: AP "
            + ("undefined" if ap is None else f"{100 * ap:.1f}")
        )
        self._log.pause()

    def _check(self, step: int) -> None:
        """Leaves a test that a single process was asked to stop in."""
        if self._interruption.is_set():
            self._stop(step)

    def _stops(self, step: int) -> bool:
        """Whether all processes are to stop after this step."""
        if jax.process_count() > 1:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._interruption.is_set()

    def _stop(self, step: int) -> None:
        self._checkpoints.wait()
        self._log.say(f"stopped at step {step}, which is saved; the same command goes on from it")
        raise Stopped(self._interruption.number)

    def _epoch(self, step: int) -> float:
        return self._progress.epoch(step)

    def _saves_at(self, step: int) -> bool:
        return step % self._config.loop.save_every == 0 or step == self._last_step

    def _tests_at(self, step: int) -> bool:
        """At the first step in which so many epochs are full, and at the last one."""
        every = self._config.loop.evaluate_every
        if not every:
            return False
        before, now = self._epoch(step - 1) // every, self._epoch(step) // every
        return now > before or step == self._last_step
