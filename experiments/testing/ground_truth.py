"""Ground truth of a file, checked, as the metrics take it."""

from __future__ import annotations

import sys
from pathlib import Path

from data_pipelines.annotations import Reading, read_annotations
from data_pipelines.annotations.checked import BOX_AREAS
from pinet_jax.errors import InputError
from pinet_jax.evaluation.dataset import Dataset, Metric, ground_truth
from pinet_jax.skeletons import Skeleton


def read_ground_truth(
    file: Path,
    metric: Metric,
    skeleton: Skeleton,
    images: Path | None = None,
    reading: Reading = Reading(),
) -> Dataset:
    """Reads a COCO-format file; says where a rule stood in for what it lacks.

    Args:
        file: the annotations.
        metric: whose rule the areas follow.
        skeleton: the keypoint set that its people must have.
        images: the folder of its pictures, each of which must then be there.
        reading: how the file is to be understood.

    Raises:
        InputError: the file, or a record of it, is at fault.
    """
    annotations = read_annotations([file], skeleton, images, reading=reading, decode=False)
    for fault in annotations.unreadable:
        hint = "; does --metric or --skeleton fit this file?"
        raise InputError(f"{fault}{hint if fault.kind.startswith('other keypoints') else ''}")
    annotations.require_sound()
    if not annotations.images:
        raise InputError(f"{file}: lists no images")
    for note, count in annotations.notes.items():
        if not (note == BOX_AREAS and metric == "crowdpose"):  # its areas are made of boxes anyway
            print(f"{file}: {count} {note}", file=sys.stderr)
    return ground_truth(annotations.to_coco(), metric)
