"""People of other images, cut out by their outlines and pasted over people.

A pasted person is scaled, turned and mirrored as an image of its own would be, and its box's middle
lies in the box of a person who is there already. What happens to the labels:

- keypoints under a pasted person stay labelled, as hidden ones (v = 1);
- somebody all of whose labelled keypoints are hidden so is labelled no more, and is background;
- a pasted person counts wherever it covers what did not.

References:
    Ghiasi et al., Simple copy-paste is a strong data augmentation method for instance segmentation,
    CVPR 2021: both images are augmented, edges are not blended, what is wholly hidden is removed.
    Ling et al., Humans need not label more humans: occlusion copy & paste for occluded human
    instance segmentation, BMVC 2022: people over people, one or two into 0.8 of the images; their
    code for poses gives hidden keypoints v = 1, too. They remove people whose outline is almost
    gone; here keypoints decide, because not everybody has an outline.

Legend for shapes: h and w the size of a cutout, K keypoints, P people (padded), S the frame's side.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_masks

from data_pipelines.annotations import is_kept, outline
from data_pipelines.augmentation import (
    affine_matrix,
    box_corners,
    numbers_of,
    sample_augmentation,
    squared_reach,
)
from data_pipelines.config import AugmentationConfig
from data_pipelines.records import Record, image_pixels
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

_PASTING_STREAM = 4  # tells these random numbers from all others
_LEAST_LABELLED = 5  # keypoints of somebody who is pasted: not a hand from the image's edge


class Cutout(NamedTuple):
    """One person.

    Attributes:
        pixels: uint8 [h, w, 3], about the outline.
        mask: uint8 [h, w], 255 inside of it.
        corner: x and y of the first pixel in its image.
        keypoints: float32 [K, 3], in its image's pixels.
        box: float32 [4], likewise.
        image_shape: height and width of its image.
    """

    pixels: np.ndarray
    mask: np.ndarray
    corner: np.ndarray
    keypoints: np.ndarray
    box: np.ndarray
    image_shape: tuple[int, int]


class Labels(NamedTuple):
    """A frame's row of a batch; all are written to. See `input_pipeline.Batch`."""

    image: np.ndarray  # uint8 [S, S, 3]
    keypoints: np.ndarray  # float32 [P, K, 3]
    area: np.ndarray  # float32 [P]
    reach: np.ndarray  # float32 [P]
    corners: np.ndarray  # float32 [P, 4, 2]
    valid_masks: tuple[np.ndarray, ...]  # uint8, each at a whole fraction of S


class Cutouts:
    """The people of a split who can be pasted: they have outlines and enough labelled keypoints."""

    def __init__(self, records: Any, annotations_file: Path) -> None:
        """Looks for them.

        Args:
            records: an opened split.
            annotations_file: its annotations; image i is record i.

        Raises:
            InputError: there is nobody.
        """
        self._records = records
        content = json.loads(Path(annotations_file).read_bytes())
        numbers = {image["id"]: number for number, image in enumerate(content["images"])}
        sizes = [(image["height"], image["width"]) for image in content["images"]]
        places = [0] * len(sizes)
        self._people: list[tuple[int, int, dict[str, Any]]] = []
        for person in filter(is_kept, content["annotations"]):
            number = numbers[person["image_id"]]
            if _can_be_pasted(person):
                found = outline(person, *sizes[number])
                self._people.append((number, places[number], found))
            places[number] += 1
        if not self._people:
            raise InputError(
                f"{annotations_file}: nobody has an outline and {_LEAST_LABELLED} labelled "
                "keypoints to be pasted; set augmentation.pasting.share to 0"
            )

    def __len__(self) -> int:
        return len(self._people)

    def __getitem__(self, index: int) -> Cutout:
        number, place, found = self._people[index]
        record: Record = self._records[number]
        mask = 255 * coco_masks.decode(found)
        x, y, w, h = cv2.boundingRect(mask)
        inside = slice(y, y + h), slice(x, x + w)
        return Cutout(
            image_pixels(record)[inside],
            mask[inside],
            np.array([x, y]),
            record["keypoints"][place],
            record["boxes"][place],
            (record["height"], record["width"]),
        )


def _can_be_pasted(person: dict[str, Any]) -> bool:
    labelled = sum(v > 0 for v in person["keypoints"][2::3])
    whole = bool(person.get("segmentation")) and not person["iscrowd"]
    return whole and labelled >= _LEAST_LABELLED and min(person["bbox"][2:]) >= 1


def paste_people(
    labels: Labels,
    cutouts: Sequence[Cutout] | Cutouts,
    config: AugmentationConfig,
    skeleton: Skeleton,
    key: tuple[int, ...],
) -> None:
    """Pastes people into a frame as a key has it.

    Args:
        labels: the frame; people are added while there is room.
        cutouts: whom to choose from.
        config: how often and how many, and how they are scaled, turned and mirrored.
        skeleton: of the keypoints.
        key: whole numbers, such as (seed, epoch, index).
    """
    fewest, most = config.pasting.people
    is_chosen, count = numbers_of((_PASTING_STREAM, *key), 2)
    if is_chosen >= config.pasting.share:
        return
    for turn in range(fewest + int(count * (most - fewest + 1))):
        random = numbers_of((_PASTING_STREAM, *key, turn), 9)
        cutout = cutouts[int(random[0] * len(cutouts))]
        target = _place_in_a_box(labels, random[1:4])
        if target is not None:
            _paste(labels, cutout, target, config, skeleton, random[4:])


def _place_in_a_box(labels: Labels, random: Sequence[float]) -> np.ndarray | None:
    """A place inside the frame and inside the box of somebody seen there; None if nobody is."""
    people = np.flatnonzero((_labelled(labels) & _inside(labels)).any(axis=-1))
    if not len(people):
        return None
    top_left, top_right, bottom_left, _ = labels.corners[people[int(random[0] * len(people))]]
    across, down = top_right - top_left, bottom_left - top_left
    place = top_left + random[1] * across + random[2] * down
    return np.clip(place, 0, len(labels.image) - 1)


def _labelled(labels: Labels) -> np.ndarray:
    """Which keypoints are labelled, bool [P, K]."""
    return labels.keypoints[..., 2] > 0


def _inside(labels: Labels) -> np.ndarray:
    """Which keypoints are on a pixel of the frame, bool [P, K]."""
    rounded = np.round(labels.keypoints[..., :2])
    return np.all((rounded >= 0) & (rounded < len(labels.image)), axis=-1)


def _paste(
    labels: Labels,
    cutout: Cutout,
    target: np.ndarray,
    config: AugmentationConfig,
    skeleton: Skeleton,
    random: Sequence[float],
) -> None:
    free = np.flatnonzero(~_labelled(labels).any(axis=-1) & (labels.area == 0))
    if not len(free):
        return
    size = len(labels.image)
    drawn = sample_augmentation(config, *cutout.image_shape, random)
    matrix = affine_matrix(drawn, *cutout.image_shape, size)[:, :2]
    keypoints = cutout.keypoints.astype(np.float64)
    if drawn.mirrored:
        matrix[0] *= -1
        keypoints = keypoints[list(skeleton.mirror_permutation)]
    shift = target - matrix @ (cutout.box[:2] + cutout.box[2:] / 2)
    at = np.c_[matrix, matrix @ cutout.corner + shift]
    covered = cv2.warpAffine(cutout.mask, at, (size, size)) > 127
    if not covered.any():
        return
    pixels = cv2.warpAffine(cutout.pixels, at, (size, size), borderMode=cv2.BORDER_REPLICATE)
    labels.image[covered] = pixels[covered]
    for mask in labels.valid_masks:
        step = size // len(mask)
        mask[covered[::step, ::step]] = 1
    _hide(labels, covered)

    keypoints[:, :2] = keypoints[:, :2] @ matrix.T + shift
    enlarged = abs(float(np.linalg.det(matrix)))  # of areas
    row = free[0]
    labels.keypoints[row] = keypoints
    labels.area[row] = enlarged * cutout.box[2] * cutout.box[3]
    labels.reach[row] = enlarged * squared_reach(cutout.keypoints[None])[0]
    corners = box_corners(cutout.box[None])[0] @ matrix.T + shift
    labels.corners[row] = corners[[1, 0, 3, 2]] if drawn.mirrored else corners


def _hide(labels: Labels, covered: np.ndarray) -> None:
    """Keypoints that something covers, bool [S, S], become hidden ones; see the module."""
    labelled, last = _labelled(labels), len(covered) - 1
    x, y = np.moveaxis(np.clip(np.round(labels.keypoints[..., :2]), 0, last).astype(int), -1, 0)
    hidden = labelled & _inside(labels) & covered[y, x]  # [P, K]
    labels.keypoints[..., 2][hidden] = 1
    gone = hidden.any(axis=-1) & (hidden == labelled).all(axis=-1)
    for array in (labels.keypoints, labels.area, labels.reach, labels.corners):
        array[gone] = 0
