"""Any COCO-format set of people, with a skeleton file of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from data_pipelines.annotations import Annotations
from data_pipelines.builders.base import KeypointBuilder, SplitSource
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

_PREFIX = "person_keypoints_"


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
        """`annotations/person_keypoints_<split>.json`, and `<split>/` or `images/`.

        Raises:
            InputError: a split cannot be called so.
        """
        files = sorted((data_dir / "annotations").glob(f"{_PREFIX}*.json"))
        found = {}
        for file in files:
            split = file.stem.removeprefix(_PREFIX)
            if not re.fullmatch(r"\w+", split, re.ASCII) or split == "all":  # TFDS's own rule
                raise InputError(
                    f"{file}: {split!r} is no name for a split; use letters and digits"
                )
            own = data_dir / split
            found[split] = SplitSource((file,), own if own.is_dir() else data_dir / "images")
        return found
