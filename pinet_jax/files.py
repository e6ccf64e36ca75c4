"""Files that appear whole or not at all, folders for one process, and one-line errors."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import filelock

from pinet_jax.errors import InputError


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Names the file where the system refuses to write it.

    Args:
        path: what is written, or the flag and what it says.

    Raises:
        InputError: an OSError came up inside: a full disk, a missing right, a folder in the way.
    """
    try:
        yield
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextlib.contextmanager
def replaced_whole(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; what is written there takes its place at the end.

    Until then the old file stays as it is, and for good if anything fails inside, which leaves
    nothing behind. The folder is made where there is none.

    Args:
        path: of the file.

    Raises:
        InputError: it cannot be written.
    """
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            os.replace(partial, path)
    finally:
        with contextlib.suppress(OSError):  # it was moved, or the folder cannot even be read
            partial.unlink()


def write_whole(path: str | Path, content: str | bytes) -> None:
    """Writes a file by `replaced_whole`; text in UTF-8.

    Raises:
        InputError: it cannot be written.
    """
    with replaced_whole(path) as partial:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def only_one(folder: str | Path, who: str) -> Iterator[None]:
    """Keeps a second process out of a folder; the lock goes with the process, however it ends.

    The folder is made where there is none. Where the file system knows no locks there is none.

    Args:
        folder: which.
        who: what works there, such as "training".

    Raises:
        InputError: another one is at work there, or the folder cannot be written.
    """
    folder = Path(folder)
    file = folder / f".{who}.lock"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file.touch()
    # A soft lock, a file alone, would stay after a crash.
    lock = filelock.FileLock(file, timeout=0, fallback_to_soft=False)
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(lock)
        except filelock.Timeout as error:
            raise InputError(
                f"{folder}: another {who} is at work there; wait for it, or use another folder"
            ) from error
        except (NotImplementedError, OSError):  # no locks there
            pass
        yield
