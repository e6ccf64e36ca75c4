"""CrowdPose (Li et al., CVPR 2019), as its download unpacks."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import KeypointBuilder, SplitSource
from pinet_jax.skeletons import CROWDPOSE_14


class CrowdPose(KeypointBuilder):
    """Trained on trainval, tested on test; train and val can be built on request."""

    name = "crowdpose"
    skeleton = CROWDPOSE_14
    built_splits = ("trainval", "test")
    people_only: ClassVar[frozenset[str]] = frozenset({"trainval", "train"})

    @staticmethod
    def sources(data_dir: Path) -> dict[str, SplitSource]:
        """`json/crowdpose_<split>.json` and `images/`; trainval may be joined from its halves."""

        def source(*names: str) -> SplitSource:
            files = tuple(data_dir / "json" / f"crowdpose_{name}.json" for name in names)
            return SplitSource(files, data_dir / "images")

        whole = source("trainval")
        return {
            "trainval": whole if whole.annotations[0].is_file() else source("train", "val"),
            "test": source("test"),
            "train": source("train"),
            "val": source("val"),
        }
