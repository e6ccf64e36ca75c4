"""A dataset's own download -> checked annotations -> records, built whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import re
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from data_pipelines import records
from data_pipelines.annotations import Annotations, Fault, Reading
from data_pipelines.provenance import source_of, stored_source
from pinet_jax.errors import InputError, UsageError
from pinet_jax.files import only_one
from pinet_jax.skeletons import Skeleton

if TYPE_CHECKING:  # TensorFlow is imported where a builder is chosen
    from data_pipelines.builders.base import KeypointBuilder, SplitSource


class DatasetSource(NamedTuple):
    """A dataset on the disk, before it is built."""

    data_dir: Path
    make_builder: Callable[..., KeypointBuilder]
    skeleton: Skeleton
    reading: Reading
    splits: dict[str, SplitSource]  # all that it has or could have
    protocol: tuple[str, ...]  # those that are built by default


def dataset_source(
    dataset: str,
    data_dir: Path,
    skeleton_file: Path | None,
    name: str | None,
    reading: Reading = Reading(),
) -> DatasetSource:
    """What a dataset's download holds.

    Args:
        dataset: coco, ochuman, crowdpose or custom.
        data_dir: the folder of its download.
        skeleton_file: of a custom set; by default skeleton.json in the folder.
        name: of a custom set; by default the folder's.
        reading: how its annotations are to be understood.

    Raises:
        InputError: the folder or the skeleton is not there, or the name is no name.
    """
    if not data_dir.is_dir():
        raise InputError(f"--data-dir {data_dir}: no such folder")
    if dataset != "custom":
        for flag, value in (("--skeleton", skeleton_file), ("--name", name)):
            if value is not None:
                raise UsageError(f"{flag} {value}: only `prepare custom` takes it")
        builder = _known_builder(dataset)
        sources, splits = builder.sources(data_dir), builder.built_splits
        # Their labels are in stored pixels, and the released code reads these.
        reading = dataclasses.replace(reading, exif=reading.exif or "stored")
        return DatasetSource(data_dir, builder, builder.skeleton, reading, sources, splits)

    from data_pipelines.builders.custom import Custom

    skeleton = Skeleton.from_json(skeleton_file or data_dir / "skeleton.json")
    name = name or data_dir.resolve().name
    if not re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII):
        raise UsageError(f"--name {name}: begin with a letter; then letters, digits and _ only")
    sources = Custom.sources(data_dir)
    make_builder = partial(Custom, name=name, skeleton=skeleton)
    return DatasetSource(data_dir, make_builder, skeleton, reading, sources, tuple(sources))


def _known_builder(dataset: str) -> type[KeypointBuilder]:
    from data_pipelines.builders.coco_keypoints import CocoKeypoints
    from data_pipelines.builders.crowdpose import CrowdPose
    from data_pipelines.builders.ochuman import OCHuman

    return {"coco": CocoKeypoints, "ochuman": OCHuman, "crowdpose": CrowdPose}[dataset]


def choose_splits(
    source: DatasetSource, asked: Sequence[str], data_dir: Path
) -> dict[str, SplitSource]:
    """The splits to build; says which are missing, and raises where one was asked for."""
    for split in asked:
        if split not in source.splits:
            raise UsageError(
                f"--splits {split}: the dataset has {', '.join(source.splits) or 'none'}"
            )
    wanted = asked or source.protocol
    lost = {
        split: [file for file in source.splits[split].annotations if not file.is_file()]
        for split in wanted
    }
    missing = {split: files[0] for split, files in lost.items() if files}
    if asked and missing:
        split, file = next(iter(missing.items()))
        raise InputError(f"--splits {split}: {file} is missing")
    for split, file in missing.items():
        print(f"split {split} is missing: there is no {file}", file=sys.stderr)
    if len(missing) == len(wanted):
        raise InputError(f"--data-dir {data_dir}: holds none of the dataset's annotation files")
    return {split: source.splits[split] for split in wanted if split not in missing}


def already_built(
    source: DatasetSource, out: Path, chosen: Mapping[str, SplitSource]
) -> Path | None:
    """The folder of a set that was prepared before, of the same files and with the same splits.

    Raises:
        InputError: it was prepared of other files, or with fewer splits.
    """
    builder = source.make_builder(data_dir=out)
    folder = Path(builder.data_path)
    if not folder.exists():
        return None
    has = set(builder.info.splits)
    if not set(chosen) <= has:
        raise InputError(
            f"{folder}: was prepared before with {', '.join(sorted(has))} only; prepare "
            f"{', '.join(chosen)} with --replace"
        )
    stored = stored_source(folder)
    if stored is None:
        print(f"{folder}: does not say what it was prepared of", file=sys.stderr)
        return folder
    now = source_of(source.data_dir, source.skeleton, chosen, source.reading)
    for split, digest in now["digests"].items():
        if stored["digests"][split] != digest:
            raise InputError(
                f"{folder}: its {split} was prepared of {stored['data_dir']}, whose annotations, "
                f"pictures or skeleton were not those of {now['data_dir']} today; give another "
                "--name or --out, or build it anew with --replace"
            )
    return folder


def report_faults(checked: Mapping[str, Annotations], most_of_a_kind: int | None) -> None:
    """Says what was found: a line a split, a line a fault."""
    for split, found in checked.items():
        people = sum(map(len, found.people.values()))
        files = ", ".join(sorted({fault.file.name for fault in found.faults}))
        state = f"{len(found.faults)} fault(s) in {files}" if files else "no faults"
        print(f"{split}: {len(found.images)} sound images, {people} annotations; {state}")
        for note, count in found.notes.items():
            print(f"{split}: {count} {note}")
        for line in _fault_lines(found.faults, most_of_a_kind):
            print(line, file=sys.stderr)


def _fault_lines(faults: Sequence[Fault], most_of_a_kind: int | None) -> Iterator[str]:
    shown: Counter[str] = Counter()
    total = Counter(fault.kind for fault in faults)
    for fault in faults:
        shown[fault.kind] += 1
        if most_of_a_kind is None or shown[fault.kind] <= most_of_a_kind:
            yield str(fault)
    for kind, count in total.items():
        if most_of_a_kind is not None and count > most_of_a_kind:
            yield f"{kind}: {count - most_of_a_kind} more, {count} in all"


def refuse_faults(checked: Mapping[str, Annotations], skip_bad: bool) -> None:
    """Raises InputError where faults may not be left out, or EXIF asks a question."""
    unreadable = [fault for found in checked.values() for fault in found.unreadable]
    if unreadable:
        raise InputError(f"{unreadable[0]}; mend this file, nothing of it can be used")
    count = sum(len(found.faults) for found in checked.values())
    if count and not skip_bad:
        raise InputError(
            f"{count} fault(s), listed above; mend the files, or leave these records out with "
            "--skip-bad"
        )
    for found in checked.values():
        found.require_exif()


def build(source: DatasetSource, checked: Mapping[str, Annotations], out: Path) -> None:
    """Builds the records of checked splits, whole or not at all, in the place of older ones.

    Raises:
        InputError: nothing can be written there, or another `prepare` is at work.
    """
    folder = Path(source.make_builder(data_dir=out).data_path)
    beside = folder.parent / ".building"
    builder = source.make_builder(data_dir=beside, splits=checked)
    chosen = {split: source.splits[split] for split in checked}
    builder.source = source_of(source.data_dir, source.skeleton, chosen, source.reading)
    try:
        with (
            only_one(folder.parent, "prepare"),
            tempfile.TemporaryDirectory() as nothing_to_download,
            contextlib.redirect_stdout(io.StringIO()),
        ):
            shutil.rmtree(beside, ignore_errors=True)  # of a run that was killed
            builder.download_and_prepare(download_dir=nothing_to_download)
            _put(Path(builder.data_path), folder)
            shutil.rmtree(beside)
    except OSError as error:
        raise InputError(f"{folder}: could not be built ({error})") from error
    for split in checked:
        left_out = folder / records.left_out_name(split)
        if left_out.exists():
            print(f"{left_out}: what was left out of {split}")
    print(f"{folder}: prepared; {_sizes(builder)}")


def _put(built: Path, folder: Path) -> None:
    """Moves a folder to its place; the older one goes only when it is there."""
    older = folder.with_name(f"{folder.name}.replaced")
    shutil.rmtree(older, ignore_errors=True)
    if folder.exists():
        folder.rename(older)
    built.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _sizes(builder: KeypointBuilder) -> str:
    return ", ".join(
        f"{name} {split.num_examples} records in {split.num_shards} shard(s)"
        for name, split in builder.info.splits.items()
    )
