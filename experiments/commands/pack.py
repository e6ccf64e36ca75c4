"""`pinet-jax pack`: a COCO-format set as one small file, for a training without a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import tyro

from data_pipelines.annotations import Reading
from data_pipelines.packs import write_pack
from pinet_jax.skeletons import COCO_17, Skeleton


def main(
    *,
    annotations: Path,
    images: Path,
    out: Path,
    skeleton: Path | None = None,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading(),
    found_poses: Path | None = None,
    long_side: int = 320,
    quality: int = 80,
) -> None:
    """Packs photographs and their keypoints into one file that a device's memory holds whole.

    A training (`train --config photographs --packed.packs OUT ...`) reads packs without TensorFlow,
    and without files beside them.

    Example: pinet-jax pack --annotations A.json --images pictures --out mine.npz

    Args:
        annotations: the COCO-format file.
        images: the folder of its pictures.
        out: the file to write, .npz.
        skeleton: of the people; COCO's 17 keypoints by default.
        reading: how the annotations are to be understood.
        found_poses: a result file of `evaluate` on these pictures. Where a network is sure of a
            person whom nobody annotated, no training takes it for background.
        long_side: pixels; larger pictures are shrunk to it.
        quality: of the pictures in the pack (WebP), 1 to 100.
    """
    keypoints = COCO_17 if skeleton is None else Skeleton.from_json(skeleton)
    count = write_pack(
        out,
        annotations,
        images,
        keypoints,
        reading=reading,
        found_poses=found_poses,
        long_side=long_side,
        quality=quality,
    )
    print(f"{out}: {count} images, {out.stat().st_size / 1e6:.1f} MB")
