"""`pinet-jax prepare`: a dataset's own download, checked and built into records once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from data_pipelines import records
from data_pipelines.annotations import Reading, read_annotations
from data_pipelines.preparation import (
    already_built,
    build,
    choose_splits,
    dataset_source,
    refuse_faults,
    report_faults,
)

LISTED_OF_A_KIND = 10  # faults that --check-only prints of each kind


def main(
    dataset: Annotated[Literal["coco", "ochuman", "crowdpose", "custom"], tyro.conf.Positional],
    *,
    data_dir: Path,
    out: Path | None = None,
    splits: tuple[str, ...] = (),
    skip_bad: bool = False,
    check_only: bool = False,
    replace: bool = False,
    skeleton: Path | None = None,
    name: str | None = None,
    reading: Annotated[Reading, tyro.conf.arg(name="")] = Reading(),
) -> None:
    """Checks a dataset's download and builds its records once.

    Every record is checked, and every image opened. All faults are printed, by file and id, and
    then nothing is built, unless they are to be left out. A set is built whole or not at all.

    Layouts, as the downloads unpack: coco: annotations/person_keypoints_{train,val}2017.json,
    {train,val}2017/. ochuman: ochuman_coco_format_{val,test}_range_0.00_1.00.json, images/.
    crowdpose: json/crowdpose_{trainval,test}.json (or train and val, which are joined), images/.
    custom: annotations/person_keypoints_SPLIT.json (or SPLIT/_annotations.coco.json); pictures in
    SPLIT/, images/SPLIT/ or images/; skeleton.json.

    Example: pinet-jax prepare crowdpose --data-dir crowdpose

    Args:
        dataset: which dataset.
        data_dir: the folder of its download.
        out: where datasets are kept; by default $TFDS_DATA_DIR, else ~/tensorflow_datasets.
        splits: which splits to build; by default those of the protocol that are there.
        skip_bad: leave records with faults out, and write the list of them beside the data. An
            image takes its people with it; a person leaves its image behind, where its region
            counts as unlabelled.
        check_only: check and build nothing; of each kind of fault, the first few are printed.
        replace: build the set anew where it was prepared before; the older one stays until then.
        skeleton: custom sets: the skeleton file; by default skeleton.json in the data folder.
        name: custom sets: what the set is called; by default the data folder's name.
        reading: how the annotations are to be understood; the labels of coco, ochuman and
            crowdpose are in stored pixels.
    """
    source = dataset_source(dataset, data_dir, skeleton, name, reading)
    chosen = choose_splits(source, splits, data_dir)
    target = out or records.default_data_dir()
    built = None if check_only or replace else already_built(source, target, chosen)
    if built:
        print(f"{built}: already prepared; --replace builds it anew")
        return
    checked = {
        split: read_annotations(
            files.annotations, source.skeleton, files.images, reading=source.reading, progress=True
        )
        for split, files in chosen.items()
    }
    report_faults(checked, LISTED_OF_A_KIND if check_only else None)
    refuse_faults(checked, skip_bad and not check_only)
    if not check_only:
        build(source, {split: found.with_left_out() for split, found in checked.items()}, target)
