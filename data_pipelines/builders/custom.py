"""Any COCO-format set of people, with a skeleton file of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.annotations import Annotations
from data_pipelines.annotations.json_values import load_json
from data_pipelines.builders.base import KeypointBuilder, SplitSource
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

_PREFIX = "person_keypoints_"
_ROBOFLOW = "_annotations.coco.json"


class Custom(KeypointBuilder, skip_registration=True):  # type: ignore[call-arg]
    """A set that goes by the name and has the keypoints it is given."""

    cuts_out_unlabelled = True

    def __init__(
        self,
        *,
        name: str,
        skeleton: Skeleton,
        splits: Mapping[str, Annotations] | None = None,
        **kwargs: Any,
    ) -> None:
        """Makes a builder.

        Args:
            name: what the set is called.
            skeleton: its keypoint set.
            splits: the checked annotations of each split to build.
            **kwargs: TFDS's own, `data_dir` above all.
        """
        self.name = name
        self.skeleton = skeleton
        super().__init__(splits=splits, **kwargs)

    @staticmethod
    def sources(data_dir: Path) -> dict[str, SplitSource]:
        """`annotations/person_keypoints_<split>.json`; Roboflow's `<split>/_annotations.coco.json`.

        The pictures are in `<split>/`, `images/<split>/`, `images/` or the folder itself: the first
        of them that has the first picture.

        Raises:
            InputError: a split cannot be called so.
        """
        named = {
            file.stem.removeprefix(_PREFIX): file
            for file in sorted((data_dir / "annotations").glob(f"{_PREFIX}*.json"))
        }
        named |= {file.parent.name: file for file in sorted(data_dir.glob(f"*/{_ROBOFLOW}"))}
        found = {}
        for split, file in named.items():
            if not re.fullmatch(r"\w+", split, re.ASCII) or split == "all":  # TFDS's own rule
                raise InputError(
                    f"{file}: {split!r} is no name for a split; use letters and digits"
                )
            found[split] = SplitSource((file,), _image_folder(data_dir, split, file))
        return found


def _image_folder(data_dir: Path, split: str, file: Path) -> Path:
    folders = [data_dir / split, data_dir / "images" / split, data_dir / "images", data_dir]
    there = [folder for folder in folders if folder.is_dir()]
    content, _ = load_json(file)
    images = content.get("images") if isinstance(content, dict) else None
    first = images[0] if isinstance(images, list) and images else None
    name = first.get("file_name") if isinstance(first, dict) else None
    if not isinstance(name, str):  # a fault, which its reader names
        return there[0]
    return next((folder for folder in there if _is_file(folder / name)), there[0])


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):  # no name for a file
        return False
