"""`pinet-jax train`: trains a network, tests it in between, goes on by itself after any end."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import logging
import math
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from jax.experimental import multihost_utils

from experiments.configs import load_config
from experiments.configs.base import ExperimentConfig
from experiments.configs.flags import field_types
from experiments.training_data import TrainingData, open_training_data
from experiments.training_log import TrainingLog
from experiments.validation import Validation
from pinet_jax.checkpoints import TrainingCheckpoints, load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.files import write_whole
from pinet_jax.interop.state_dict import replace_backbone
from pinet_jax.interop.weight_files import read_arrays
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.networks.initializers import Variables
from pinet_jax.runtime import (
    keep_freed_memory,
    make_mesh,
    replicated,
    split_by_image,
    use_user_cache,
)
from pinet_jax.training import (
    Metrics,
    Training,
    TrainState,
    check_batch_size,
    compile_train_step,
)


class Stopped(Exception):
    """The training was asked to stop, and everything that is to be kept has been written."""


def main(
    *,
    config: str,
    experiment: ExperimentConfig,
    workdir: Path,
    init_backbone: Path | None = None,
    init_model: Path | None = None,
    distributed: bool = False,
) -> None:
    """Trains, evaluates in between, keeps the best by AP.

    The same command goes on where it was stopped: by Ctrl-C, SIGTERM, a crash or a power cut.
    WORKDIR/checkpoints holds the latest checkpoints and the best; `predict` and `evaluate` take
    WORKDIR for the best one. Beside them: metrics.jsonl, pictures of predictions, config.json.

    Args:
        config: the experiment: ochuman, crowdpose, coco, an ablation, or a Python file of your own.
        experiment: its fields, each of which can be given another value.
        workdir: folder of this training.
        init_backbone: a published ImageNet HRNet (.pth, .safetensors or .npz) to start from.
        init_model: a whole network to start from: a checkpoint, a work folder, or an exported
            .safetensors.
        distributed: this is one process of several, which find each other through SLURM, MPI,
            Kubernetes or a TPU pod.
    """
    if distributed:
        jax.distributed.initialize()
    prepare_process()
    with contextlib.suppress(Stopped):
        train(experiment, workdir, init_backbone=init_backbone, init_model=init_model)


def prepare_process() -> None:
    """What a process that trains does first."""
    use_user_cache()
    keep_freed_memory()
    _hush_checkpoints()


def _hush_checkpoints() -> None:
    """Keeps orbax's own messages off the bar.

    Whatever it cannot write comes as an exception, too, and becomes one line. Before that, each
    array that was still to be written would print that nobody waits for it any more.
    """
    for name in ("absl", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    print_other = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if "Event loop is closed" not in str(unraisable.exc_value):
            print_other(unraisable)

    sys.unraisablehook = hook


def run(arguments: Sequence[str]) -> None:
    """Parses the command line: every field of the named config is a flag, with its value there."""
    default = load_config(_config_name(arguments) or "ochuman")

    def command(
        *,
        config: str,
        workdir: Path,
        init_backbone: Path | None = None,
        init_model: Path | None = None,
        distributed: bool = False,
        experiment: Annotated[ExperimentConfig, tyro.conf.arg(name="")] = default,
    ) -> None:
        main(
            config=config,
            experiment=experiment,
            workdir=workdir,
            init_backbone=init_backbone,
            init_model=init_model,
            distributed=distributed,
        )

    command.__doc__ = main.__doc__
    with field_types():
        tyro.cli(
            command,
            prog="pinet-jax train",
            args=arguments,
            config=(tyro.conf.AvoidSubcommands,),
        )


def _config_name(arguments: Sequence[str]) -> str | None:
    for flag, value in itertools.pairwise([*arguments, ""]):
        if flag == "--config":
            return value
        if flag.startswith("--config="):
            return flag.removeprefix("--config=")
    return None


def train(
    config: ExperimentConfig,
    workdir: Path,
    *,
    init_backbone: Path | None = None,
    init_model: Path | None = None,
    devices: list[jax.Device] | None = None,
) -> TrainState:
    """Trains until the config's last epoch.

    Args:
        config: the experiment.
        workdir: its folder; a training that was begun there goes on.
        init_backbone: weights of the backbone to start from.
        init_model: a checkpoint of the whole network to start from.
        devices: to train on; all of all processes by default.

    Returns:
        The last state.

    Raises:
        InputError: something the user can mend; also where a loss is not finite any more.
        Stopped: SIGTERM or Ctrl-C came; the state was saved.
    """
    if init_backbone is not None and init_model is not None:
        raise UsageError("--init-backbone and --init-model: give one of them")
    mesh = make_mesh(devices)
    check_batch_size(config.training, mesh.size)
    if jax.process_count() > 1:
        _connect(mesh)
    data = open_training_data(config)
    training = Training.make(config.model, config.training, _steps_per_epoch(config, data))
    _note_config(config, workdir)
    checkpoints = TrainingCheckpoints(
        workdir / "checkpoints", config.model, config.inference, keep=config.loop.keep
    )
    with contextlib.closing(checkpoints):
        if checkpoints.latest_step is None:
            state = _first_state(config, training, mesh, init_backbone, init_model)
        else:
            state = _restored_state(config, training, mesh, checkpoints)
        with _interruption() as interruption:
            loop = _Loop(config, workdir, data, training, checkpoints, interruption)
            return loop.run(state, mesh)


class _Loop:
    """The steps of a training, and what is done between them."""

    def __init__(
        self,
        config: ExperimentConfig,
        workdir: Path,
        data: TrainingData,
        training: Training,
        checkpoints: TrainingCheckpoints,
        interruption: threading.Event,
    ) -> None:
        self._config, self._workdir, self._data = config, workdir, data
        self._training, self._checkpoints = training, checkpoints
        self._interruption = interruption
        self._images_per_step = config.training.batch_size / data.images_per_epoch
        self._last_step = math.ceil(config.training.epochs / self._images_per_step)
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
        self._trace = _Trace(self._workdir / "profile", self._config.loop.profile, self._log.say)
        with contextlib.closing(self._log), contextlib.closing(self._trace):
            if step and self._checkpoints.evaluation(step) is None and self._tests_at(step):
                self._test(step, state)  # it was stopped before, or in, this test
            take_step = compile_train_step(self._training, mesh)
            batches = self._data.batches(step, split_by_image(mesh))
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
            if stops or self._saves_at(step) or self._tests_at(step):
                self._note(*waiting)  # a state that has gone wrong is never saved
                waiting = None
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
            self._checkpoints.save(step, state.test_variables, state.training_variables)
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
        raise Stopped

    def _epoch(self, step: int) -> float:
        return step * self._images_per_step

    def _saves_at(self, step: int) -> bool:
        return step % self._config.loop.save_every == 0 or step == self._last_step

    def _tests_at(self, step: int) -> bool:
        """At the first step in which so many epochs are full, and at the last one."""
        every = self._config.loop.evaluate_every
        if not every:
            return False
        before, now = self._epoch(step - 1) // every, self._epoch(step) // every
        return now > before or step == self._last_step


class _Trace:
    """The trace for TensorBoard's profiler, of the steps that the config names."""

    def __init__(self, folder: Path, steps: tuple[int, int] | None, say: Callable[[str], None]):
        self._folder, self._say = folder, say
        self._first, self._last = steps or (0, -1)
        self._running = False

    def before(self, step: int) -> None:
        """Begins at the first step, or at a later one if the training goes on from there."""
        if self._first <= step <= self._last and not self._running:
            jax.profiler.start_trace(str(self._folder))
            self._running = True

    def after(self, step: int, results: Any) -> None:
        """Ends at the last step, when the device is done with it."""
        if step == self._last and self._running:
            jax.block_until_ready(results)
            self.close()

    def close(self) -> None:
        """Writes what there is, if that has not been done."""
        if self._running:
            self._running = False
            jax.profiler.stop_trace()
            self._say(f"{self._folder}: the trace is written, for TensorBoard's profiler")


def _connect(mesh: jax.sharding.Mesh) -> None:
    """Lets all devices exchange something while no process is busy.

    CPUs connect at their first exchange, and give up on a process that compiles, or renders the
    test set, for more than half a minute; once connected they wait.
    """
    ones = np.ones(len(mesh.local_devices), np.float32)
    shared = jax.make_array_from_process_local_data(split_by_image(mesh), ones)
    jax.block_until_ready(jax.jit(jnp.sum)(shared))


def _steps_per_epoch(config: ExperimentConfig, data: TrainingData) -> float:
    return data.images_per_epoch / config.training.batch_size


def _first_state(
    config: ExperimentConfig,
    training: Training,
    mesh: jax.sharding.Mesh,
    init_backbone: Path | None,
    init_model: Path | None,
) -> TrainState:
    variables: Variables
    if init_model is not None:
        variables = load_model(init_model, config.model).variables
    else:
        variables = init_variables(config.model, config.training.seed)
    if init_backbone is not None:
        arrays = read_arrays(init_backbone)
        variables = replace_backbone(variables, arrays, config.model, where=str(init_backbone))
    return jax.device_put(training.init_state(variables), replicated(mesh))


def _restored_state(
    config: ExperimentConfig,
    training: Training,
    mesh: jax.sharding.Mesh,
    checkpoints: TrainingCheckpoints,
) -> TrainState:
    shapes = jax.eval_shape(training.init_state, abstract_variables(config.model))
    placed = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=replicated(mesh)), shapes
    )
    return TrainState.from_checkpoint(
        *checkpoints.restore(placed.test_variables, placed.training_variables)
    )


def _note_config(config: ExperimentConfig, workdir: Path) -> None:
    """Writes the config for whoever looks into the folder; says what changed since the start."""
    content = json.loads(json.dumps(dataclasses.asdict(config), default=lambda f: f.__name__))
    file = workdir / "config.json"
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        if jax.process_index() == 0:
            if file.is_file() and json.loads(file.read_text()) != content:
                print(f"{file}: this training began with another config; it is replaced")
            write_whole(file, json.dumps(content, indent=1) + "\n")
    except (OSError, ValueError) as error:
        raise InputError(f"--workdir {workdir}: cannot be used ({error})") from error


@contextlib.contextmanager
def _interruption() -> Iterator[threading.Event]:
    """An event that SIGTERM and the first Ctrl-C set; the second Ctrl-C ends the process."""
    event = threading.Event()
    # In a job of several processes JAX listens to SIGTERM, so that all stop at the same step.
    alone = jax.process_count() == 1 and threading.current_thread() is threading.main_thread()
    if not alone:
        yield event
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}

    def ask(number: int, frame: Any) -> None:
        del frame
        event.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
