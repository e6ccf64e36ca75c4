"""COCO keypoints 2017 (Lin et al., ECCV 2014), as its download unpacks."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from data_pipelines.builders.base import KeypointBuilder, SplitSource
from pinet_jax.skeletons import COCO_17


class CocoKeypoints(KeypointBuilder):
    """Trained on train2017, tested on val2017."""

    name = "coco_keypoints"
    skeleton = COCO_17
    built_splits = ("train", "val")
    cuts_out_unlabelled = True
    people_only: ClassVar[frozenset[str]] = frozenset({"train"})

    @staticmethod
    def sources(data_dir: Path) -> dict[str, SplitSource]:
        """`annotations/person_keypoints_<split>2017.json` and `<split>2017/`."""
        return {
            split: SplitSource(
                (data_dir / "annotations" / f"person_keypoints_{split}2017.json",),
                data_dir / f"{split}2017",
            )
            for split in ("train", "val")
        }
