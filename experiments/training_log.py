"""What a training says: a progress bar, metrics as JSON lines, and TensorBoard where it is."""

from __future__ import annotations

import contextlib
import json
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
        self._every, self._batch_size = every, batch_size
        self._file = _reopen(workdir / "metrics.jsonl", step) if writes else None
        self._board = _tensorboard(workdir / "tensorboard", step) if writes else None
        self._bar = tqdm(
            total=last_step, initial=step, desc="train", unit="step", disable=not writes
        )
        self._window: list[Mapping[str, float]] = []
        self._since = time.perf_counter()

    def step(self, step: int, epoch: float, metrics: Mapping[str, float]) -> None:
        """Notes one step; a line is written when enough of them have come together."""
        self._window.append(metrics)
        self._bar.update()
        if step % self._every:
            return
        now = time.perf_counter()
        speed = len(self._window) * self._batch_size / (now - self._since)
        means = {key: float(np.mean([m[key] for m in self._window])) for key in metrics}
        self._bar.set_postfix_str(
            f"{speed:.1f} images/s, "
            + ", ".join(f"{key} {value:.3g}" for key, value in means.items())
        )
        self.write(step, epoch, {**means, "images_per_second": speed})
        self._window, self._since = [], now

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
        """Takes what comes now out of the speed: it is no training."""
        self._bar.refresh()
        self._window, self._since = [], time.perf_counter()

    def close(self) -> None:
        """Closes bar and files."""
        self._bar.close()
        if self._file is not None:
            self._file.close()
        if self._board is not None:
            self._board.close()


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
    """A writer of TensorBoard's, if that is installed."""
    try:
        from tensorboard.summary import Writer
    except ImportError:
        return None
    return Writer(str(folder / f"from_step_{step:07d}"))
