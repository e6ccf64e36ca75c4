"""Checkpoints: variables, method and test procedure in one folder. The only file that knows orbax.

A network that is done can also be one safetensors file with the config in its header. A checkpoint
holds two items, `model` ("params" and "batch_stats") and `config` (JSON: the method,
and how it is to be tested), so that whoever has the folder needs nothing else. Training's
checkpoints lie side by side in one folder, named by their steps; each has a third item, `training`,
and is a checkpoint like any other.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from pinet_jax.checkpoint_folders import (
    EVALUATION,
    best_checkpoint,
    best_of,
    evaluation_of,
    step_folders,
)
from pinet_jax.config_json import differences, to_json
from pinet_jax.errors import InputError
from pinet_jax.files import write_whole
from pinet_jax.interop.model_files import Model, read_model_config, read_model_file
from pinet_jax.methods import config_from_json, config_to_json
from pinet_jax.methods.base import InferenceConfig, Method, abstract_variables
from pinet_jax.networks.initializers import Variables
from pinet_jax.runtime import require_devices
from pinet_jax.variable_trees import leaves_of, shape_difference

_REMOVED = ".removed"  # after the name of a checkpoint that is on its way out


def save_model(
    path: str | os.PathLike,
    method: Method,
    variables: Variables,
    inference: InferenceConfig | None = None,
) -> None:
    """Writes a checkpoint, whole or not at all.

    Args:
        path: its folder, a new one.
        method: the method.
        variables: of its network.
        inference: how it is to be tested; by default as the method's own default says.

    Raises:
        InputError: there is something at `path` already, or nothing can be written there.
    """
    path = Path(path).absolute()
    if path.exists():
        raise InputError(f"{path}: exists already; remove it or choose another name")
    items = ocp.args.Composite(
        model=ocp.args.StandardSave(jax.tree.map(np.asarray, variables)),
        config=ocp.args.JsonSave(config_to_json(method, inference or method.inference_type())),
    )
    try:
        with ocp.Checkpointer(_handler()) as checkpointer:
            checkpointer.save(path, args=items)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error})") from error


def load_config(path: str | os.PathLike) -> tuple[Method, InferenceConfig]:
    """The method of a checkpoint, and how it is to be tested, without its variables.

    Args:
        path: as for `load_model`.

    Raises:
        InputError: `path` is no whole checkpoint, or its graph is a function of the user's own.
    """
    if Path(path).suffix == ".safetensors":
        return read_model_config(Path(path))
    path = best_checkpoint(Path(path).absolute())
    with _broken_if_it_fails(path), ocp.Checkpointer(_handler()) as checkpointer:
        return config_from_json(_stored_config(checkpointer, path), str(path))


def load_model(path: str | os.PathLike, method: Method | None = None) -> Model:
    """Reads a checkpoint.

    Args:
        path: its folder; or a training's, of whose checkpoints the best by AP is read, and the
            latest where none has been evaluated; or a safetensors file of `interop.model_files`.
        method: whose network it must hold; by default the checkpoint says it itself. Needed where
            its graph is a function of your own.

    Raises:
        InputError: `path` is no whole checkpoint, or it holds another network; the message says
            in what it differs.
    """
    if Path(path).suffix == ".safetensors":
        return read_model_file(Path(path), method)
    path = best_checkpoint(Path(path).absolute())
    with _broken_if_it_fails(path), ocp.Checkpointer(_handler()) as checkpointer:
        shapes = checkpointer.metadata(path).item_metadata["model"].tree
        if method is not None:  # tracing takes seconds: only where there is what to compare
            different = shape_difference(leaves_of(abstract_variables(method)), leaves_of(shapes))
            if different:
                raise InputError(f"{path}: holds another network, {different}")
        stored = _stored_config(checkpointer, path)
        method, inference = config_from_json(stored, str(path), method)
        return Model(method, _stored_variables(checkpointer, path), inference)


def load_variables(path: str | os.PathLike) -> Variables:
    """Reads a checkpoint's variables, whatever network they are of; see `load_model`.

    Raises:
        InputError: `path` is no whole checkpoint.
    """
    path = best_checkpoint(Path(path).absolute())
    with _broken_if_it_fails(path), ocp.Checkpointer(_handler()) as checkpointer:
        return _stored_variables(checkpointer, path)


def _stored_variables(checkpointer: ocp.Checkpointer, path: Path) -> Variables:
    shapes = checkpointer.metadata(path).item_metadata["model"].tree
    # Asked for as NumPy's: the devices it was written from may not be here.
    arrays = jax.tree.map(lambda x: np.empty(x.shape, x.dtype), shapes)
    items = ocp.args.Composite(model=ocp.args.StandardRestore(arrays))
    return checkpointer.restore(path, args=items)["model"]


def _stored_config(checkpointer: ocp.Checkpointer, path: Path) -> Mapping[str, Any]:
    items = ocp.args.Composite(config=ocp.args.JsonRestore())
    return checkpointer.restore(path, args=items)["config"]


@contextlib.contextmanager
def _broken_if_it_fails(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # orbax and tensorstore raise what the broken file makes them
        require_devices()  # without one, nothing can be read, and no file is at fault
        raise InputError(f"{path}: the checkpoint is broken ({_first_line(error)})") from error


class TrainingCheckpoints:
    """The checkpoints of one training: the latest ones, and the best by AP.

    Writing goes on beside the training, and a checkpoint appears whole or not at all. In a job of
    several processes, all of them make the same calls.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        method: Method,
        inference: InferenceConfig | None = None,
        keep: int = 2,
        training: Any = None,
    ) -> None:
        """Opens the folder, or makes it; remains of a killed save or removal are swept away.

        Args:
            folder: for this training alone.
            method: what is trained.
            inference: how it is to be tested; the method's default if None.
            keep: the latest checkpoints to keep.
            training: the recipe, a dataclass; a refused `restore` says what of it is different.

        Raises:
            InputError: nothing can be written there.
        """
        self.folder = Path(folder).absolute()
        self._keep = keep
        self._config = config_to_json(method, inference or method.inference_type())
        self._recipe = {"training": to_json(training)} if training is not None else {}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if jax.process_index() == 0:
                for left in self.folder.glob(f"*{_REMOVED}"):
                    shutil.rmtree(left)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be made ({error.strerror})") from error
        options = ocp.CheckpointManagerOptions(cleanup_tmp_directories=True)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    @property
    def latest_step(self) -> int | None:
        """Of the newest whole checkpoint."""
        return self._manager.latest_step()

    def images_seen(self) -> int | None:
        """By the newest checkpoint's network in training; None where nobody noted it.

        Raises:
            InputError: the checkpoint is broken.
        """
        with _broken_if_it_fails(self.folder / str(self.latest_step)):
            return self._stored_config().get("images_seen")

    def _stored_config(self) -> Mapping[str, Any]:
        items = ocp.args.Composite(config=ocp.args.JsonRestore())
        return self._manager.restore(self.latest_step, args=items)["config"]

    def save(
        self, step: int, variables: Variables, training: Any, *, images_seen: int | None = None
    ) -> None:
        """Starts to write a checkpoint; what is given may change as soon as this returns.

        Args:
            step: its name; greater than all before.
            variables: to be tested: what `load_model` will read.
            training: a tree of arrays: what else training needs to go on.
            images_seen: so far; steps may be of batches of several sizes.

        Raises:
            InputError: this checkpoint, or the one before, cannot be written. Those that were
                whole remain so.
        """
        self.wait()
        self._remove_old()  # only now that the last one is whole
        items = ocp.args.Composite(
            model=ocp.args.StandardSave(variables),
            config=ocp.args.JsonSave({**self._config, **self._recipe, "images_seen": images_seen}),
            training=ocp.args.StandardSave(training),
        )
        try:
            self._manager.save(step, args=items)
        except Exception as error:  # orbax and tensorstore raise what the disk makes them
            raise self._write_error(error) from error

    def evaluation(self, step: int) -> dict[str, float | None] | None:
        """The figures of a checkpoint, if `record_evaluation` was called for it."""
        return evaluation_of(self.folder / str(step))

    def record_evaluation(self, step: int, figures: Mapping[str, float | None]) -> None:
        """Stores the figures of a checkpoint inside it; the best by "AP" is kept.

        Raises:
            InputError: they cannot be written.
        """
        self.wait()
        if jax.process_index() != 0:
            return
        file = self.folder / str(step) / EVALUATION
        try:
            write_whole(file, json.dumps(dict(figures), indent=1) + "\n")
        except InputError as error:
            raise self._write_error(error) from error

    def restore(self, variables: Variables, training: Any) -> tuple[Variables, Any]:
        """Reads the newest checkpoint.

        Args:
            variables: the same tree with `jax.ShapeDtypeStruct`s, whose shardings say where the
                arrays go: any number of devices.
            training: likewise.

        Raises:
            InputError: it holds another network or another kind of training state, or is broken.
        """
        path = self.folder / str(self.latest_step)
        stored: Mapping[str, Any] = {}
        try:
            stored = self._stored_config()
            self._check_same_config(path, stored)
            items = ocp.args.Composite(
                model=ocp.args.StandardRestore(variables),
                training=ocp.args.StandardRestore(training),
            )
            restored = self._manager.restore(self.latest_step, args=items)
        except InputError:
            raise
        except Exception as error:  # orbax and tensorstore raise what the file makes them
            recipe = stored.get("training", {}), self._recipe.get("training", {})
            different = "; ".join(differences(*recipe, "training")) or _first_line(error)
            raise InputError(
                f"{path}: does not continue with this config ({different}); use the config it was "
                "trained with, or another folder"
            ) from error
        return restored["model"], restored["training"]

    def wait(self) -> None:
        """Waits until what was saved is whole.

        Raises:
            InputError: it cannot be written.
        """
        try:
            self._manager.wait_until_finished()
        except Exception as error:
            raise self._write_error(error) from error

    def close(self) -> None:
        """Waits, and lets go of the folder.

        Raises:
            InputError: what was saved last cannot be written.
        """
        self.wait()
        self._manager.close()

    def _remove_old(self) -> None:
        """Removes all but the latest checkpoints and the best one."""
        if jax.process_index() != 0:
            return
        whole = step_folders(self.folder)
        kept = {*whole[-self._keep :], best_of(whole)} if whole else set()
        for path in whole:
            if path not in kept:
                # First its name: what is removed by half must not be taken for a checkpoint.
                removed = path.with_name(path.name + _REMOVED)
                os.rename(path, removed)
                shutil.rmtree(removed)

    def _write_error(self, error: Exception) -> InputError:
        whole = step_folders(self.folder)
        last = f"the last good one is {whole[-1]}" if whole else "there is no whole one yet"
        return InputError(
            f"{self.folder}: a checkpoint cannot be written ({_first_line(error)}); {last}; make "
            "room and start again"
        )

    def _check_same_config(self, path: Path, stored: Mapping[str, Any]) -> None:
        different = list(differences(stored.get("method", stored), self._config["method"]))
        if different:
            raise InputError(
                f"{path}: holds another network: {'; '.join(different)}; use its config, or "
                "another folder"
            )


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _handler() -> ocp.CompositeCheckpointHandler:
    return ocp.CompositeCheckpointHandler(
        model=ocp.StandardCheckpointHandler(),
        config=ocp.JsonCheckpointHandler(),
        # Never read here, but orbax warns of items whose kind it is not told.
        training=ocp.StandardCheckpointHandler(),
    )
