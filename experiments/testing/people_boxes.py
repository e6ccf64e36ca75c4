"""People's boxes for a set of images, for methods that need them.

Legend for shapes: N images, M boxes of one.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from data_pipelines.annotations import read_annotations
from experiments.testing.image_sets import EvaluationSet
from experiments.testing.pictures import Task
from pinet_jax.box_files import BoxFile, ListedImage, find_boxes, read_boxes
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import Method

_MOST_FAULTS = 20  # that are printed one by one


def boxes_of(
    images: Sequence[ListedImage], found: BoxFile, file: Path
) -> tuple[list[np.ndarray], int]:
    """The boxes of every image; those that cannot be used are named, the others stay.

    Args:
        images: [N].
        found: their boxes.
        file: where these are from.

    Returns:
        float64 [M, 5] an image (x, y, width, height, score), and how many boxes were left out.
    """
    for fault in found.faults[:_MOST_FAULTS]:
        tqdm.write(fault, file=sys.stderr)
    if len(found.faults) > _MOST_FAULTS:
        rest = len(found.faults) - _MOST_FAULTS
        tqdm.write(f"{file}: {rest} more boxes are left out", file=sys.stderr)
    return [found.boxes.get(image.id, np.zeros((0, 5))) for image in images], len(found.faults)


def check_boxes_flag(method: Method, boxes: Path | None) -> None:
    """Refuses --boxes where nobody reads it.

    Raises:
        UsageError: the method finds everybody by itself.
    """
    if boxes is not None and not method.needs_boxes:
        raise UsageError(
            f"--boxes {boxes}: {type(method).__name__} finds everybody by itself; leave it out"
        )


def with_boxes(tested: EvaluationSet, method: Method, file: Path | None = None) -> EvaluationSet:
    """The set with the boxes that the method needs; as it is, if it needs none.

    Args:
        tested: the images.
        method: what is tested.
        file: of the boxes; the annotations' own if None.

    Raises:
        UsageError: there are no annotations, and no file is named.
        InputError: it is no file of boxes.
    """
    if not method.needs_boxes:
        return tested
    if file is None and not tested.annotated:
        raise UsageError(
            f"{tested.file}: has no boxes, which {type(method).__name__} needs; give --boxes, a "
            "file of a detector's results or of another system's poses"
        )
    names = {
        entry["id"]: entry["file_name"] for entry in json.loads(tested.file.read_bytes())["images"]
    }
    images = [
        ListedImage(image_id, names[image_id], *shape)
        for image_id, shape in zip(tested.images.ids, tested.images.shapes, strict=True)
    ]
    if file is None:
        file, reading = tested.file, tested.reading
        people = read_annotations([file], tested.skeleton, reading=reading).to_coco()
        found = find_boxes(people, images, str(file))
    else:
        found = read_boxes(file, images)
    boxes, _ = boxes_of(images, found, file)
    return dataclasses.replace(tested, images=dataclasses.replace(tested.images, boxes=boxes))


def task_boxes(
    tasks: Sequence[Task], method: Method, file: Path | None
) -> tuple[list[np.ndarray] | None, int]:
    """The boxes of a user's pictures, or None for a method that needs none.

    Returns:
        float64 [M, 5] a picture, and how many boxes were left out.

    Raises:
        UsageError: boxes are needed and none are named, or the other way round.
        InputError: it is no file of boxes.
    """
    check_boxes_flag(method, file)
    if not method.needs_boxes:
        return None, 0
    if file is None:
        raise UsageError(
            f"{type(method).__name__} needs people's boxes: give --boxes, a file of COCO "
            "annotations, of a detector's results, or of another system's poses (the poses.json "
            "of `pinet-jax predict` with another checkpoint)"
        )
    listed = [ListedImage(task.image_id, task.source.as_posix(), *task.shape) for task in tasks]
    return boxes_of(listed, read_boxes(file, listed), file)
