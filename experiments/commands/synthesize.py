"""`pinet-jax synthesize`: crowds with exact keypoints, in COCO's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.rendering import Place, render_split
from pinet_jax.errors import UsageError
from pinet_jax.runtime import use_user_cache
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14


def main(
    *,
    out: Path,
    images: int,
    seed: int = 0,
    people: tuple[int, int] = (2, 8),
    overlap: float = 0.3,
    size: int = 256,
    skeleton: Literal["coco_17", "crowdpose_14"] = "coco_17",
    split: str = "train",
    occluders: int = 3,
    distractors: int = 18,
) -> None:
    """Renders crowds of people with exact keypoints, boxes, masks and visibility.

    Writes OUT/SPLIT/*.jpg, OUT/annotations/person_keypoints_SPLIT.json and OUT/skeleton.json, which
    `prepare custom --data-dir OUT` reads. Give each split a seed of its own. Image i of a seed is
    always the same. The annotation file is written last: where it is missing, the set is not whole.

    Example: pinet-jax synthesize --out crowds --images 1000 --people 2 8

    Args:
        out: folder of the set; several splits may share one.
        images: how many images.
        seed: number of the random stream.
        people: fewest and most people in an image, at most 30.
        overlap: wanted crowding, 0 to 0.8: the mean over people of the largest IoU of one's box
            with another's.
        size: side of the images in pixels, a multiple of 16.
        skeleton: which keypoints.
        split: name of the split.
        occluders: most things in front of people.
        distractors: things behind them.
    """
    config = CrowdConfig(people, overlap, size, occluders, distractors)
    keypoints = {"coco_17": COCO_17, "crowdpose_14": CROWDPOSE_14}[skeleton]
    if images < 1:
        raise UsageError(f"--images {images}: give at least 1")
    use_user_cache()
    print(render_split(Place(out, split), images, seed, config, keypoints))
