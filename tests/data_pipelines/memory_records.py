"""Records made in memory, a stand-in for a prepared split."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from data_pipelines.records import Index, Record, encode_mask
from pinet_jax.skeletons import COCO_17, Skeleton


class MemoryRecords:
    """A list of records with what the input pipeline needs of a split."""

    folder = Path("memory")  # nothing is there

    def __init__(self, records: list[Record], skeleton: Skeleton = COCO_17) -> None:
        self.records = records
        self.skeleton = skeleton

    @property
    def index(self) -> Index:
        def column(values) -> np.ndarray:
            return np.array(list(values), np.int64)

        return Index(
            image_id=column(r["image_id"] for r in self.records),
            height=column(r["height"] for r in self.records),
            width=column(r["width"] for r in self.records),
            people=column(len(r["area"]) for r in self.records),
            labelled_keypoints=column((r["keypoints"][..., 2] > 0).sum() for r in self.records),
        )

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]


def make_record(image_id: int, rng: np.random.Generator, people: int = 2) -> Record:
    """A record with a random image, random people and, every other time, a hole in the mask."""
    height, width = (int(side) for side in rng.integers(40, 90, 2))
    image = rng.integers(0, 256, (height, width, 3), np.uint8)
    mask = np.ones((height, width), np.uint8)
    mask[: 10 * (image_id % 2)] = 0
    keypoints = np.zeros((people, 17, 3), np.float32)
    keypoints[..., 0] = rng.uniform(0, width, (people, 17))
    keypoints[..., 1] = rng.uniform(0, height, (people, 17))
    keypoints[..., 2] = rng.integers(1, 3, (people, 17))
    boxes = rng.uniform(1, 30, (people, 4)).astype(np.float32)
    return Record(
        image=cv2.imencode(".png", image)[1].tobytes(),
        image_id=image_id,
        file_name=f"{image_id}.png",
        height=height,
        width=width,
        valid_mask=encode_mask(mask),
        keypoints=keypoints,
        boxes=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        annotation_id=np.arange(people, dtype=np.int64),
        crowd_index=-1.0,
    )


def make_records(count: int, seed: int = 0) -> MemoryRecords:
    """Records with the image ids 100, 101, ..."""
    rng = np.random.default_rng(seed)
    people = rng.integers(1, 4, count)
    return MemoryRecords([make_record(100 + i, rng, int(people[i])) for i in range(count)])
