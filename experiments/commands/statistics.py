"""`pinet-jax statistics`: how crowded and how occluded a dataset is, as table, JSON and plot."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import tyro

from data_pipelines import records
from data_pipelines.annotations import Annotations, Reading, read_annotations
from data_pipelines.statistics import count, plot, table
from pinet_jax.errors import InputError
from pinet_jax.files import write_whole
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton


def main(
    source: Annotated[str, tyro.conf.Positional],
    *,
    out: Path,
    splits: tuple[str, ...] = (),
    skeleton: str = "coco",
    data_dir: Path | None = None,
    join_categories: bool = False,
) -> None:
    """Counts a dataset's people, crowding and occlusion.

    Prints a table and writes statistics_NAME.json and statistics_NAME.png: people per image, mean
    box IoU (each person's largest IoU with another, averaged over an image's people), crowdIndex,
    visibility of each keypoint, and for each way to part the body the share of parts without a
    visible keypoint (the paper's figure 3). People without any labelled keypoint do not count.

    Example: pinet-jax statistics ochuman_keypoints --splits test --out statistics

    Args:
        source: a prepared dataset's name or folder, or any annotation file in COCO's format.
        out: the folder to write to.
        splits: of a prepared dataset; by default all of them.
        skeleton: of an annotation file: coco, crowdpose, or a skeleton file.
        data_dir: where prepared datasets are; by default $TFDS_DATA_DIR or ~/tensorflow_datasets.
        join_categories: of an annotation file: take all categories that list the skeleton's
            keypoints for one, as of animals.
    """
    reading = Reading(join_categories=join_categories)
    for name, split in _sources(source, splits, skeleton, data_dir, reading):
        figures = count(split)
        print(table(name, figures, split.skeleton))
        content = {"source": source, "name": name, **figures.to_json(split.skeleton)}
        picture = io.BytesIO()
        plot(name, figures, split.skeleton).savefig(picture, dpi=150)
        write_whole(out / f"statistics_{name}.json", f"{json.dumps(content, indent=2)}\n")
        write_whole(out / f"statistics_{name}.png", picture.getvalue())
        print(f"\nwritten: {out / f'statistics_{name}'}.json and .png\n")


def _sources(
    source: str,
    splits: tuple[str, ...],
    skeleton: str,
    data_dir: Path | None,
    reading: Reading,
) -> Iterator[tuple[str, Annotations]]:
    """Named annotations: of every split, or of the one file."""
    if source.endswith(".json"):
        yield Path(source).stem, _read(Path(source), _skeleton(skeleton), reading)
        return
    folder = records.dataset_folder(source, data_dir)
    there = sorted(file.stem.removeprefix("index_") for file in folder.glob("index_*.npz"))
    for split in splits or there:
        if split not in there:
            raise InputError(f"--splits {split}: {folder} has {', '.join(there)}")
        file = folder / records.annotations_name(split)
        yield (
            f"{folder.parent.name}_{split}",
            _read(file, Skeleton.from_json(folder / "skeleton.json"), Reading()),
        )


def _skeleton(name: str) -> Skeleton:
    known = {"coco": COCO_17, "crowdpose": CROWDPOSE_14}
    return known[name] if name in known else Skeleton.from_json(name)


def _read(file: Path, skeleton: Skeleton, reading: Reading) -> Annotations:
    annotations = read_annotations([file], skeleton, reading=reading)
    for fault in annotations.unreadable:
        asked = "; is --skeleton right?" if fault.kind.startswith("other keypoints") else ""
        raise InputError(f"{fault}{asked}")
    if not annotations.images:
        raise InputError(f"{file}: has no sound image")
    for note, times in annotations.notes.items():
        print(f"{file}: {times} {note}", file=sys.stderr)
    if annotations.faults:
        print(
            f"{file}: {len(annotations.faults)} fault(s), left out; the first: "
            f"{annotations.faults[0]}",
            file=sys.stderr,
        )
    return annotations
