"""Crowds -> entries of a COCO annotation file.

Legend for shapes: P people, K keypoints, H = W = size.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import Crowd
from pinet_jax.evaluation.crowding import crowd_index
from pinet_jax.skeletons import Skeleton

_DESCRIPTION = (
    "Synthetic crowds. bbox and area are those of the whole person inside the image, hidden or"
    " not; segmentation is what is seen of the person; keypoints have v = 1 where anything or"
    " anybody hides them; people hidden almost wholly are left out."
)


def image_entry(made: Crowd, image_id: int, file_name: str) -> dict[str, Any]:
    """An image's entry, with CrowdPose's crowdIndex.

    Args:
        made: one crowd, of NumPy arrays.
        image_id: its id.
        file_name: its file, relative to the image folder.
    """
    height, width = made.owner.shape
    crowding = crowd_index(
        np.asarray(made.boxes)[made.people], np.asarray(made.keypoints)[made.people]
    )
    return {
        "id": image_id,
        "file_name": file_name,
        "width": width,
        "height": height,
        "crowdIndex": round(crowding, 4),
    }


def person_entries(made: Crowd, image_id: int) -> list[dict[str, Any]]:
    """The entries of everybody in an image, without their ids."""
    return [
        _person_entry(made, person, image_id) for person in np.flatnonzero(made.people).tolist()
    ]


def _person_entry(made: Crowd, person: int, image_id: int) -> dict[str, Any]:
    keypoints = np.asarray(made.keypoints[person], np.float64).round(2)
    run_lengths = coco_mask.encode(np.asfortranarray(made.owner == person, np.uint8))
    return {
        "image_id": image_id,
        "category_id": 1,
        "iscrowd": 0,
        "keypoints": [int(n) if n == int(n) else float(n) for n in keypoints.ravel()],
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
        "bbox": [float(side) for side in made.boxes[person]],
        "area": float(made.area[person]),
        "segmentation": {**run_lengths, "counts": run_lengths["counts"].decode()},
    }


def annotation_file(
    images: list[dict[str, Any]],
    people: list[dict[str, Any]],
    skeleton: Skeleton,
    config: CrowdConfig,
    seed: int,
) -> dict[str, Any]:
    """The whole annotation file.

    Args:
        images: entries of `image_entry`.
        people: entries of `person_entries`; they are numbered here.
        skeleton: of their keypoints.
        config: the dials they were made with.
        seed: and the seed.
    """
    return {
        "info": {
            "description": _DESCRIPTION,
            "seed": seed,
            "skeleton": skeleton.name,
            **dataclasses.asdict(config),
        },
        "licenses": [],
        "images": images,
        "annotations": [{"id": number, **person} for number, person in enumerate(people, 1)],
        "categories": [
            {
                "id": 1,
                "name": "person",
                "supercategory": "person",
                "keypoints": list(skeleton.keypoints),
                "skeleton": [[a + 1, b + 1] for a, b in skeleton.edges],
            }
        ],
    }
