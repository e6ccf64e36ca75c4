"""A small sound dataset on the disk, for tests to break."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data_pipelines.annotations import Annotations, read_annotations
from pinet_jax.evaluation.dataset import Dataset, Metric, ground_truth
from pinet_jax.skeletons import COCO_17, Skeleton


def person(number: int, image_id: int, skeleton: Skeleton = COCO_17, **fields) -> dict[str, Any]:
    """A person with every keypoint labelled."""
    points = [[10.5 + k, 8 + k, 1 + k % 2] for k in range(skeleton.num_keypoints)]
    return {
        "id": number,
        "image_id": image_id,
        "category_id": 1,
        "keypoints": [value for point in points for value in point],
        "num_keypoints": skeleton.num_keypoints,
        "bbox": [5.0, 4.0, 30.0, 20.0],
        "area": 400.0,
        "iscrowd": 0,
        "segmentation": [[5, 4, 35, 4, 35, 24, 5, 24]],
        **fields,
    }


def content(images: int = 3, skeleton: Skeleton = COCO_17, first_id: int = 1) -> dict[str, Any]:
    """Annotations of images 48 x 32 with one person each; ids are 1, 2, ... and 101, 102, ..."""
    ids = range(first_id, first_id + images)
    return {
        "images": [{"id": i, "file_name": f"{i:04d}.jpg", "width": 48, "height": 32} for i in ids],
        "annotations": [person(100 + i, i, skeleton) for i in ids],
        "categories": [{"id": 1, "name": "person", "keypoints": list(skeleton.keypoints)}],
    }


def write_images(folder: Path, annotations: dict[str, Any]) -> None:
    """JPEG files, all different, for every image."""
    folder.mkdir(parents=True, exist_ok=True)
    for image in annotations["images"]:
        rng = np.random.default_rng(image["id"])
        pixels = rng.integers(0, 256, (image["height"], image["width"], 3), np.uint8)
        Image.fromarray(pixels).save(folder / image["file_name"])


def write_json(file: Path, annotations: Any) -> Path:
    """The file, written."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(annotations))
    return file


class MemoryFile:
    """A file that is not on the disk."""

    name = "people.json"

    def __init__(self, data: bytes) -> None:
        self.data = data

    def read_bytes(self) -> bytes:
        return self.data

    def __str__(self) -> str:
        return self.name


def read(folder: Path, content: Any) -> Annotations:
    """The content, read with the pictures in folder / "images"."""
    file = write_json(folder / "people.json", content)
    return read_annotations([file], COCO_17, folder / "images")


def read_content(
    content: Any, folder: Path | None = None, skeleton: Skeleton = COCO_17
) -> Annotations:
    """The content, read as if from a file."""
    file: Any = MemoryFile(json.dumps(content).encode())
    return read_annotations([file], skeleton, folder)


def one_fault(annotations: Annotations) -> str:
    """The only fault there is, as its one line."""
    assert len(annotations.faults) == 1, annotations.faults
    text = str(annotations.faults[0])
    assert "\n" not in text
    return text


def read_truth(content: Any, metric: Metric, skeleton: Skeleton) -> Dataset:
    """The content, as the metrics get it from a file."""
    found = read_content(content, skeleton=skeleton)
    found.require_sound()
    return ground_truth(found.to_coco(), metric)
