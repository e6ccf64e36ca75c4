"""OCHuman (Zhang et al., CVPR 2019), from its files in COCO's format."""

from __future__ import annotations

from pathlib import Path

from data_pipelines.builders.base import KeypointBuilder, SplitSource
from pinet_jax.skeletons import COCO_17


class OCHuman(KeypointBuilder):
    """It has no training set: PINet trains on val and tests on test."""

    name = "ochuman"
    skeleton = COCO_17
    built_splits = ("val", "test")

    @staticmethod
    def sources(data_dir: Path) -> dict[str, SplitSource]:
        """`ochuman_coco_format_<split>_range_0.00_1.00.json` and `images/`."""
        return {
            split: SplitSource(
                (data_dir / f"ochuman_coco_format_{split}_range_0.00_1.00.json",),
                data_dir / "images",
            )
            for split in ("val", "test")
        }
