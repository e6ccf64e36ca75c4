"""`pinet-jax synthesize`: crowds with exact keypoints, in COCO's layout."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

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
from pinet_jax.runtime import use_user_cache
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton

_JPEG_QUALITY = 95
_AT_ONCE = {"cpu": 4}  # images of one call; accelerators take more
_AT_ONCE_ON_ACCELERATOR = 64


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
    place = _Place(out, split)
    _check_place(place, keypoints)
    use_user_cache()
    shutil.rmtree(place.unfinished, ignore_errors=True)
    with writing(place.unfinished):
        place.unfinished.mkdir(parents=True)
    try:
        entries = _render(place.unfinished, images, seed, config, keypoints)
        _publish(place, annotation_file(*entries, keypoints, config, seed), keypoints)
    finally:
        shutil.rmtree(place.unfinished, ignore_errors=True)
    print(f"{place.annotations}: {_summary(entries)} (wanted {overlap:g})")


class _Place(NamedTuple):
    """Where the files of a split go."""

    out: Path
    split: str

    @property
    def annotations(self) -> Path:
        return self.out / "annotations" / f"person_keypoints_{self.split}.json"

    @property
    def images(self) -> Path:
        return self.out / self.split

    @property
    def unfinished(self) -> Path:
        return self.out / f".{self.split}.unfinished"

    @property
    def skeleton(self) -> Path:
        return self.out / "skeleton.json"


class _Entries(NamedTuple):
    images: list[dict[str, Any]]
    people: list[dict[str, Any]]


def _check_place(place: _Place, skeleton: Skeleton) -> None:
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
        for group in _in_threads(work, range(0, images, at_once)):
            for image, people in group:
                entries.images.append(image)
                entries.people.extend(people)
            bar.update(len(group))
    return entries


def _at(made: Crowd, index: int) -> Crowd:
    return Crowd(*(part[index] for part in made))


def _in_threads(work: Callable[[int], Any], items: range) -> Iterator[Any]:
    """Results in order; XLA and JPEG writing let go of the interpreter, so threads run at once."""
    pool = ThreadPoolExecutor(os.cpu_count())
    try:
        yield from pool.map(work, items)
    finally:
        pool.shutdown(cancel_futures=True)


def _write(folder: Path, index: int, made: Crowd) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    image_id = index + 1
    name = f"{image_id:012d}.jpg"
    quality = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY]
    encoded = cv2.imencode(".jpg", np.ascontiguousarray(made.image[..., ::-1]), quality)[1]
    with writing(folder / name):
        (folder / name).write_bytes(encoded.tobytes())
    return image_entry(made, image_id, name), person_entries(made, image_id)


def _publish(place: _Place, content: dict[str, Any], skeleton: Skeleton) -> None:
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
