"""Result files written: as poses come, whole, and as COCO's server takes them.

Legend for shapes: N poses, K keypoints.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pinet_jax.errors import InputError
from pinet_jax.files import replaced_whole, write_whole, writing

Entry = dict[str, Any]  # of COCO's result format


def pose_entries(
    image_id: int | str, keypoints: np.ndarray, scores: np.ndarray, *, category_id: int = 1
) -> list[Entry]:
    """An image's poses in COCO's result format.

    Args:
        image_id: of the annotations; for other pictures, any name.
        keypoints: float32 [N, K, 3], (x, y, score) in image pixels.
        scores: float32 [N].
        category_id: of the annotations' persons.
    """
    return [
        {
            "image_id": image_id,
            "category_id": category_id,
            "keypoints": [_shortest(value) for value in points.flat],
            "score": _shortest(score),
        }
        for points, score in zip(keypoints, scores, strict=True)
    ]


def write_results(path: str | Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Writes a COCO result file, whole or not at all.

    Raises:
        InputError: it cannot be written.
    """
    write_whole(path, json.dumps(results, allow_nan=False, separators=(",", ":")))


class GrowingResults:
    """A COCO result file that `growing_results` writes.

    Attributes:
        count: of the entries.
        begun: whether any were added, be it none of a picture without people.
    """

    def __init__(self, file: TextIO) -> None:
        self.count = 0
        self.begun = False
        self._file = file
        self._file.write("[")
        self._whole = self._file.tell()

    def add(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Adds entries; those of one call appear together or not at all."""
        for entry in entries:
            self._file.write(",\n" if self.count else "\n")
            self._file.write(json.dumps(entry, allow_nan=False))
            self.count += 1
        self._whole = self._file.tell()
        self.begun = True

    def end(self) -> None:
        """Closes the list; drops what a call of `add` that was broken off has left."""
        self._file.seek(self._whole)
        self._file.truncate()
        self._file.write("\n]\n")


@contextlib.contextmanager
def growing_results(path: str | Path) -> Iterator[GrowingResults]:
    """Writes a COCO result file entry by entry, in constant memory.

    It appears at the end, whole; after Ctrl-C, with what was added until then. An error leaves
    nothing behind, and an older file as it was; so does a Ctrl-C before anything was added.

    Raises:
        InputError: it cannot be written.
    """
    interrupted = None
    with replaced_whole(path) as partial, open(partial, "w", encoding="utf-8") as file:
        results = GrowingResults(file)
        try:
            yield results
        except KeyboardInterrupt as stop:
            if not results.begun:
                raise
            interrupted = stop
        results.end()
    if interrupted is not None:
        raise interrupted


def write_submission(
    folder: str | Path, results: Sequence[Mapping[str, Any]], split: str, algorithm: str
) -> Path:
    """Writes the archive that COCO's evaluation server takes.

    Args:
        folder: where to.
        results: COCO result entries.
        split: as the server calls it, such as "test-dev2017" or "val2017".
        algorithm: what the server is to call the system.

    Returns:
        The zip file; it holds one JSON file of the same name.

    Raises:
        InputError: it cannot be written.
    """
    name = f"person_keypoints_{split}_{algorithm}_results"
    path = Path(folder) / f"{name}.zip"
    with (
        replaced_whole(path) as partial,
        zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        archive.writestr(f"{name}.json", json.dumps(results, allow_nan=False))
    return path


class PartialResults:
    """Poses on disk as they come, a line an image, so that a killed run can go on.

    The first line says which run it is; a file of another run is refused. A line that the end of a
    run cut short is dropped.

    Attributes:
        done: image id -> its entries.
    """

    def __init__(self, path: str | Path, run: Mapping[str, Any]) -> None:
        """Opens the file, or begins it.

        Args:
            path: the file.
            run: what decides the results (checkpoint, split, test procedure), as JSON takes it.

        Raises:
            InputError: the file is of another run, or cannot be written.
        """
        self.path = Path(path)
        self.done: dict[int, list[Entry]] = {}
        self._header = json.dumps({"run": run}, sort_keys=True) + "\n"
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            whole = self._read(self.path) if self.path.exists() else 0
            self._file = open(self.path, "r+b" if whole else "wb")  # noqa: SIM115
        self._file.truncate(whole)
        self._file.seek(whole)
        if not whole:
            self._append(self._header)

    def take_over(self, path: Path) -> None:
        """Adds to `done` what another process of the same run has written; its file stays.

        Raises:
            InputError: the file is of another run.
        """
        self._read(path)

    def _read(self, path: Path) -> int:
        """Adds to `done`; returns the bytes of whole lines, 0 for a file without its first."""
        *lines, _ = path.read_bytes().split(b"\n")
        if not lines:
            return 0
        if lines[0].decode(errors="replace") + "\n" != self._header:
            raise InputError(
                f"{path}: poses of another run (checkpoint, split or options differ); "
                "delete it or choose another output folder"
            )
        for line in lines[1:]:
            entry = json.loads(line)
            self.done[entry["image_id"]] = entry["poses"]
        return sum(len(line) + 1 for line in lines)

    def add(self, image_id: int, entries: list[Entry]) -> None:
        """Stores an image's entries; there may be none.

        Raises:
            InputError: they cannot be written.
        """
        self.done[image_id] = entries
        self._append(json.dumps({"image_id": image_id, "poses": entries}) + "\n")

    def _append(self, line: str) -> None:
        with writing(self.path):
            self._file.write(line.encode())
            self._file.flush()

    def results(self, image_ids: Sequence[int]) -> list[Entry]:
        """All entries, image by image in this order."""
        return [entry for image_id in image_ids for entry in self.done[image_id]]

    def close(self) -> None:
        """Closes the file, which stays."""
        self._file.close()

    def __enter__(self) -> PartialResults:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shortest(value: np.float32) -> float:
    """The fewest digits that give the same float32 again: half the size of a file."""
    return float(str(value))
