"""A split of rendered crowds on the disk, in COCO's layout, whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from data_pipelines.synthetic_crowds.coco_format import (
    annotation_file,
    image_entry,
    person_entries,
)
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import Crowd, crowds
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.crowding import mean_box_iou
from pinet_jax.files import write_whole, writing
from pinet_jax.skeletons import Skeleton
from pinet_jax.threads import work_ahead

_JPEG_QUALITY = 95
_AT_ONCE = {"cpu": 4}  # images a call; accelerators take more
_AT_ONCE_ON_ACCELERATOR = 64


class Place(NamedTuple):
    """Where the files of a split go."""

    out: Path
    split: str

    @property
    def annotations(self) -> Path:
        """The annotation file, written last."""
        return self.out / "annotations" / f"person_keypoints_{self.split}.json"

    @property
    def images(self) -> Path:
        """The folder of the pictures."""
        return self.out / self.split

    @property
    def unfinished(self) -> Path:
        """Where pictures are until all are there."""
        return self.out / f".{self.split}.unfinished"

    @property
    def skeleton(self) -> Path:
        """The keypoint set, which all splits share."""
        return self.out / "skeleton.json"


def render_split(
    place: Place, images: int, seed: int, config: CrowdConfig, skeleton: Skeleton
) -> str:
    """Renders and writes a split; image i of a seed is always the same.

    Args:
        place: where to.
        images: how many.
        seed: number of the random stream.
        config: the crowds.
        skeleton: which keypoints.

    Returns:
        What the split is like, in words.

    Raises:
        InputError: something is in the way, or nothing can be written there.
    """
    _check_place(place, skeleton)
    shutil.rmtree(place.unfinished, ignore_errors=True)
    with writing(place.unfinished):
        place.unfinished.mkdir(parents=True)
    try:
        entries = _render(place.unfinished, images, seed, config, skeleton)
        _publish(place, annotation_file(*entries, skeleton, config, seed), skeleton)
    finally:
        shutil.rmtree(place.unfinished, ignore_errors=True)
    return f"{place.annotations}: {_summary(entries)} (wanted {config.overlap:g})"


class _Entries(NamedTuple):
    images: list[dict[str, Any]]
    people: list[dict[str, Any]]


def _check_place(place: Place, skeleton: Skeleton) -> None:
    if not place.split or place.split != Path(place.split).name or place.split == "annotations":
        raise UsageError(f"--split {place.split!r}: give a plain name, such as train")
    if place.annotations.exists():
        raise InputError(
            f"{place.annotations}: already there; choose another --out or --split, or delete it"
        )
    if place.images.is_file() or (place.out.exists() and not place.out.is_dir()):
        raise InputError(f"--out {place.out}: a file is in the way; choose another folder")
    if place.skeleton.exists() and Skeleton.from_json(place.skeleton) != skeleton:
        raise InputError(
            f"{place.skeleton}: the set has other keypoints; choose another --out or --skeleton"
        )


def _render(
    folder: Path, images: int, seed: int, config: CrowdConfig, skeleton: Skeleton
) -> _Entries:
    """Renders and writes all images; returns their entries in order."""
    at_once = _AT_ONCE.get(jax.default_backend(), _AT_ONCE_ON_ACCELERATOR)
    key = jax.random.key(seed)
    program = jax.jit(partial(crowds, config=config, skeleton=skeleton))
    # Compiled before the threads start, each of which would do it again.
    render = program.lower(key, jnp.arange(at_once)).compile()

    def work(first: int) -> list[tuple[dict[str, Any], list[dict[str, Any]]]]:
        # The last call makes more than is asked for, so that one program is compiled.
        made = jax.device_get(render(key, jnp.arange(first, first + at_once)))
        last = min(first + at_once, images)
        return [_write(folder, i, _at(made, i - first)) for i in range(first, last)]

    entries = _Entries([], [])
    with tqdm(total=images, desc="synthesize", unit="image") as bar:
        starts = range(0, images, at_once)
        threads = os.cpu_count() or 1
        for _, group in work_ahead(work, starts, threads=threads, ahead=2 * threads):
            for image, people in group:
                entries.images.append(image)
                entries.people.extend(people)
            bar.update(len(group))
    return entries


def _at(made: Crowd, index: int) -> Crowd:
    return Crowd(*(array[index] for array in made))


def _write(folder: Path, index: int, made: Crowd) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    image_id = index + 1
    name = f"{image_id:012d}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(made.image[..., ::-1]), quality)[1]
    with writing(folder / name):
        (folder / name).write_bytes(encoded.tobytes())
    return image_entry(made, image_id, name), person_entries(made, image_id)


def _publish(place: Place, content: dict[str, Any], skeleton: Skeleton) -> None:
    """Moves everything to its place, the annotation file last."""
    shutil.rmtree(place.images, ignore_errors=True)  # of a run that was killed right here
    os.replace(place.unfinished, place.images)
    write_whole(place.skeleton, json.dumps(skeleton.to_json()))
    write_whole(place.annotations, json.dumps(content))


def _summary(entries: _Entries) -> str:
    boxes: dict[int, list[list[float]]] = {image["id"]: [] for image in entries.images}
    for person in entries.people:
        boxes[person["image_id"]].append(person["bbox"])
    overlap = np.mean([mean_box_iou(np.array(b).reshape(-1, 4)) for b in boxes.values()])
    v = np.array([person["keypoints"][2::3] for person in entries.people])
    hidden = np.sum(v == 1) / max(np.sum(v > 0), 1)
    return (
        f"{len(entries.images)} images, {len(entries.people)} people,"
        f" {hidden:.0%} of their keypoints hidden, mean box IoU {overlap:.3f}"
    )
