"""Which files a prepared set was built from, so that another project's is never taken for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from data_pipelines.annotations import Reading
from data_pipelines.annotations.json_values import load_json
from pinet_jax.skeletons import Skeleton

if TYPE_CHECKING:
    from data_pipelines.builders.base import SplitSource

SOURCE_NAME = "source.json"  # beside the records


def source_of(
    data_dir: Path, skeleton: Skeleton, splits: Mapping[str, SplitSource], reading: Reading
) -> dict[str, Any]:
    """What `source.json` holds.

    Args:
        data_dir: the folder of the download.
        skeleton: the keypoint set.
        splits: those to build.
        reading: how their annotations are understood.

    Returns:
        The folder, and for every split a digest of its annotations and how they are understood, its
        skeleton, and its pictures' names and sizes.
    """
    return {
        "data_dir": str(data_dir.resolve()),
        "digests": {name: _digest(split, skeleton, reading) for name, split in splits.items()},
    }


def stored_source(folder: Path) -> dict[str, Any] | None:
    """What a prepared folder was built from; None where nobody wrote it down."""
    file = folder / SOURCE_NAME
    return json.loads(file.read_text()) if file.is_file() else None


def _digest(split: SplitSource, skeleton: Skeleton, reading: Reading) -> str:
    digest = hashlib.sha256(json.dumps(skeleton.to_json(), sort_keys=True).encode())
    if reading.upright or reading.join_categories:  # sets of before have neither
        digest.update(repr(reading).encode())
    for file in split.annotations:
        digest.update(file.read_bytes())
        digest.update("".join(_sizes(file, split.images)).encode())
    return digest.hexdigest()


def _sizes(file: Path, images: Path) -> list[str]:
    """A line for every picture that a file names; what is no COCO file names none."""
    content, _ = load_json(file)
    entries = content.get("images") if isinstance(content, dict) else None
    lines = []
    for entry in entries if isinstance(entries, list) else []:
        name = entry.get("file_name") if isinstance(entry, dict) else None
        if isinstance(name, str):
            lines.append(f"{name!a} {_size(images / name)}\n")
    return lines


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except (OSError, ValueError):
        return -1
