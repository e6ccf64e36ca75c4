"""What a training says: a progress bar, metrics as JSON lines, and TensorBoard where it is."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from pinet_jax.files import write_whole, writing


class TrainingLog:
    """The log of one training, which goes on where an earlier run of it was stopped.

    In a job of several processes, only one of them writes.
    """

    def __init__(
        self, workdir: Path, *, step: int, last_step: int, batch_size: int, every: int, writes: bool
    ) -> None:
        """Opens the files; what an earlier run wrote about steps after `step` is dropped.

        Args:
            workdir: `metrics.jsonl` goes here, TensorBoard's events into `tensorboard`.
            step: steps taken so far.
            last_step: at which the training ends.
            batch_size: images a step.
            every: steps a line of the log.
            writes: whether this process is the one that writes.
        """
        self._every, self._last_step, self._batch_size = every, last_step, batch_size
        self._file = _reopen(workdir / "metrics.jsonl", step) if writes else None
        self._board = _tensorboard(workdir / "tensorboard", step) if writes else None
        self._bar = tqdm(
            total=last_step,
            initial=step,
            disable=not writes,
            bar_format="{percentage:3.0f}% {bar:10} {n_fmt}/{total_fmt}, {remaining} left{postfix}",
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 60,  # a log file is read now and then
            postfix="compiling",  # for minutes, before the first step
        )
        self._begun = False  # whether a step was noted
        self._window: list[Mapping[str, float]] = []
        self._timed = 0  # the steps since ...
        self._since: float | None = None

    def step(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Notes one step; a line is written when enough of them, or the last, have come."""
        now = time.perf_counter()
        if self._since is None:  # what went before was compilation or a test above all
            self._since = now
            self._bar.unpause()
        else:
            self._timed += 1
        if not self._begun:
            self._bar.set_postfix_str("", refresh=False)
            self._begun = True
        self._window.append(metrics)
        self._bar.update()
        if step % self._every and step != self._last_step:
            return
        speed = self._timed * self._batch_size / (now - self._since) if self._timed else None
        means = {key: float(np.mean([m[key] for m in self._window])) for key in metrics}
        self._bar.set_postfix_str(_summary(speed, means), refresh=False)
        self.write(step, epoch, {**means, "images_per_second": speed})
        self._window, self._timed, self._since = [], 0, now

    def write(self, step: int, epoch: float, figures: Mapping[str, float | None]) -> None:
        """Writes one line."""
        if self._file is not None:
            line = {"step": step, "epoch": round(epoch, 4), **figures}
            self._file.write(json.dumps(line) + "\n")
            self._file.flush()
        if self._board is not None:
            for key, value in figures.items():
                if value is not None:
                    self._board.add_scalar(key, value, step)

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if not self._bar.disable:
            tqdm.write(text)

    def pause(self) -> None:
        """Takes what comes until the next step is done out of the speed and the time left."""
        self._timed, self._since = 0, None

    def close(self) -> None:
        """Closes bar and files."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


def _summary(speed: float | None, means: Mapping[str, float]) -> str:
    """What goes behind the bar, the most important first: narrow terminals cut off the end."""
    first, last = ("loss", "learning_rate"), ("gradient_norm",)
    order = [*first, *(key for key in means if key not in first + last), *last]
    names = {"learning_rate": "lr", "gradient_norm": "gradient"}
    figures = [f"{names.get(key, key)} {means[key]:.3g}" for key in order if key in means]
    return ", ".join(([f"{speed:.1f} images/s"] if speed else []) + figures)


def _reopen(path: Path, step: int) -> Any:
    """Opens a file of JSON lines behind its last line that is whole and not after `step`."""
    kept = []
    with writing(path):
        for line in path.read_text().splitlines() if path.is_file() else []:
            with contextlib.suppress(ValueError, KeyError):  # the end of a killed run's last line
                if json.loads(line)["step"] <= step:
                    kept.append(line + "\n")
        write_whole(path, "".join(kept))
        return path.open("a")


def _tensorboard(folder: Path, step: int) -> Any:
    """A writer of TensorBoard's events, if there is one; its plots drop what is after `step`."""
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        return None
    suffix = f".from_step_{step:07d}"
    return SummaryWriter(str(folder), purge_step=step + 1, filename_suffix=suffix)
