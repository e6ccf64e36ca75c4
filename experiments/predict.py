"""`pinet-jax predict`: pictures in, poses and drawn pictures out."""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Protocol

import cv2
import jax
import numpy as np
import tyro
from tqdm import tqdm

from experiments.chosen_network import choose_network
from pinet_jax.checkpoints import load_model
from pinet_jax.errors import InputError, UsageError
from pinet_jax.evaluation.result_files import pose_entries
from pinet_jax.files import write_whole
from pinet_jax.images import find_images, image_size, read_image
from pinet_jax.inference import Predictor, Prepared, default_batch_size
from pinet_jax.poses import Poses
from pinet_jax.resizing import resized_shape
from pinet_jax.runtime import use_user_cache
from pinet_jax.skeletons import Skeleton
from pinet_jax.visualization import draw_poses

_THREADS = 4  # for reading and drawing, which both release the interpreter's lock
_BATCHES_AHEAD = 3
_JPEG_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif"}
_JPEG_QUALITY = 95
_MOST_ELONGATED = 16  # long side / short side; the network's input grows with it


def main(
    images: Annotated[tuple[Path, ...], tyro.conf.Positional],
    *,
    out: Path,
    checkpoint: Path | None = None,
    config: str | None = None,
    input_size: int | None = None,
    scales: tuple[float, ...] = (1.0,),
    flip: bool = True,
    refinement: bool = True,
    fusion: bool = True,
    score_threshold: float = 0.1,
    batch_size: int | None = None,
) -> None:
    """Finds everybody's pose in pictures.

    Writes poses.json, a list in COCO's result format, and one drawn picture for each. A picture's
    file name is its `image_id`, or its path where two pictures share a name. What cannot be read
    is named and passed over; the exit status is then 1.

    Args:
        images: picture files, and folders whose pictures are all taken.
        out: folder for poses.json and the drawn pictures; files of the same name are replaced.
        checkpoint: the model, as written by `train`, `convert` or `export`; by default the small
            one that comes with the package, trained on rendered crowds alone.
        config: the checkpoint's experiment, for its way of testing; needed only where its graph is
            a function of your own.
        input_size: pixels of a picture's short side for the network, rounded up to 64s; by default
            the experiment's, 512 where none is named.
        scales: test scales; the paper's multi-scale test is 0.5 1 2.
        flip: average with the mirrored picture: better, and twice as slow.
        refinement: correct poses by the graph network; otherwise they stay as they were found.
        fusion: fuse a person's candidates into one pose; otherwise the best candidate stays.
        score_threshold: poses below it are not drawn; poses.json has them all.
        batch_size: pictures of one size at a time; by default one for every device on
            CPUs and eight elsewhere.
    """
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"--batch-size {batch_size}: must be at least 1")
    network = choose_network(
        checkpoint,
        config,
        input_size=input_size,
        scales=scales,
        flip=flip,
        refinement=refinement,
        fusion=fusion,
    )
    use_user_cache()

    tasks, failures = plan(images, out, network.inference.input_size)
    if tasks:
        expected = None if network.experiment is None else network.experiment.model
        model_config, variables, _ = load_model(network.checkpoint, expected)
        devices = jax.local_devices()[: len(tasks)]
        predictor = Predictor(model_config, variables, network.inference, devices)
        failures += predict_tasks(
            tasks,
            predictor,
            out,
            score_threshold=score_threshold,
            batch_size=batch_size or default_batch_size(devices),
        )
    if failures:
        raise InputError(f"{failures} of the inputs could not be used; each is named above")


@dataclasses.dataclass(frozen=True)
class Task:
    """One picture to do.

    Attributes:
        source: its file.
        image_id: what poses.json calls it.
        drawing: where its drawn picture goes.
        shape: (h, w) of the network's input; pictures of one shape are done together.
    """

    source: Path
    image_id: str
    drawing: Path
    shape: tuple[int, int]


class PosePredictor(Protocol):
    """What is asked of a `Predictor`, which says what these are."""

    skeleton: Skeleton

    def prepare(self, images: Sequence[np.ndarray], batch_size: int | None = None) -> Prepared:
        """Resizes and stacks pictures."""

    def predict_prepared(self, prepared: Prepared) -> Sequence[Mapping[str, Poses]]:
        """Poses of every stage, the last one called "final"."""


def plan(paths: Iterable[Path], out: Path, input_size: int) -> tuple[list[Task], int]:
    """Looks at every input before anything slow begins.

    Args:
        paths: files and folders, as the user gave them.
        out: the output folder; made here.
        input_size: see `main`.

    Returns:
        The pictures to do in the user's order, and how many inputs were reported as unusable.

    Raises:
        InputError: no input was given, or the output would replace one of them.
    """
    paths = list(paths)
    if not paths:
        raise UsageError("no pictures: name at least one file or folder")
    sources, failures = [], 0
    for path in paths:
        try:
            sources += find_images([path])
        except InputError as error:
            failures += _report(error)
    sources = find_images(sources)

    shapes = {}
    for source in sources:
        try:
            shapes[source] = _network_shape(source, input_size)
        except InputError as error:
            failures += _report(error)
    names = collections.Counter(source.name for source in shapes)
    drawings = [out / name for name in drawing_names(list(shapes))]
    tasks = [
        Task(source, source.name if names[source.name] == 1 else source.as_posix(), drawing, shape)
        for (source, shape), drawing in zip(shapes.items(), drawings, strict=True)
    ]
    _check_output(out, tasks)
    return tasks, failures


def _network_shape(source: Path, input_size: int) -> tuple[int, int]:
    height, width = image_size(source)
    if max(height, width) > _MOST_ELONGATED * min(height, width):
        raise InputError(
            f"{source}: {width} x {height} pixels are too elongated; crop it to at most "
            f"{_MOST_ELONGATED} : 1"
        )
    return resized_shape(height, width, input_size)


def drawing_names(sources: Sequence[Path]) -> list[str]:
    """A name for every drawn picture, no two alike even where case does not count.

    The picture's own, `.jpg` for JPEGs and `.png` for all else; where that is shared, the folder's
    name comes before it, and a number behind it if need be.
    """

    def plain(source: Path) -> str:
        return source.stem + (".jpg" if source.suffix.lower() in _JPEG_SUFFIXES else ".png")

    shared = collections.Counter(plain(source).lower() for source in sources)
    taken = {name for name, count in shared.items() if count == 1}
    names = []
    for source in sources:
        name = plain(source)
        if shared[name.lower()] > 1:
            name = f"{source.absolute().parent.name}_{name}"
            stem, suffix = os.path.splitext(name)
            number = 2
            while name.lower() in taken:
                name, number = f"{stem}_{number}{suffix}", number + 1
            taken.add(name.lower())
        names.append(name)
    return names


def predict_tasks(
    tasks: Sequence[Task],
    predictor: PosePredictor,
    out: Path,
    *,
    score_threshold: float,
    batch_size: int,
) -> int:
    """Predicts all pictures, group by group, and writes the drawn ones and poses.json.

    While the device works on a batch, the next ones are read and resized and the last is drawn.

    Args:
        tasks: from `plan`; poses.json keeps their order.
        predictor: the model.
        out: folder of poses.json.
        score_threshold: see `main`.
        batch_size: pictures of one shape given to the predictor at a time, at most.

    Returns:
        How many pictures were reported as unreadable.

    Raises:
        InputError: no picture could be read, or a file cannot be written.
    """
    poses: dict[Task, Poses] = {}
    drawn: list[Future[None]] = []
    compiled: set[tuple[int, int]] = set()
    failures = 0
    with (
        ThreadPoolExecutor(_THREADS) as pool,
        tqdm(total=len(tasks), desc="predict", unit="image") as progress,
    ):
        for batch in _read_ahead(pool, predictor, _groups(tasks, batch_size)):
            failures += sum(map(_report, batch.errors))
            progress.update(len(batch.errors))
            if not batch.images:
                continue
            progress.set_description(_stage(next(iter(batch.images)).shape, compiled))
            assert batch.inputs is not None
            results = predictor.predict_prepared(batch.inputs)
            _finish(drawn)
            for (task, image), stages in zip(batch.images.items(), results, strict=True):
                poses[task] = stages["final"]
                arguments = task.drawing, image, poses[task], predictor.skeleton, score_threshold
                drawn.append(pool.submit(_draw, *arguments))
            progress.update(len(batch.images))
        _finish(drawn)

    if not poses:
        raise InputError("none of the pictures could be read; poses.json is not written")
    entries = [
        entry
        for task in tasks
        if task in poses
        for entry in pose_entries(task.image_id, poses[task].keypoints, poses[task].scores)
    ]
    write_whole(out / "poses.json", json.dumps(entries))
    print(f"{out / 'poses.json'}: pictures {len(poses)}, poses {len(entries)}")
    return failures


def _stage(shape: tuple[int, int], compiled: set[tuple[int, int]]) -> str:
    """What the progress bar says; every new shape compiles, which may take half a minute."""
    if shape in compiled:
        return "predict"
    compiled.add(shape)
    return "compile {} x {}".format(*shape)


@dataclasses.dataclass(frozen=True)
class _Batch:
    """Pictures of one input shape, ready for the device, and what was wrong with the others."""

    images: dict[Task, np.ndarray]
    inputs: Prepared | None
    errors: list[InputError]


def _groups(tasks: Sequence[Task], batch_size: int) -> Iterator[tuple[int, list[Task]]]:
    """(batch size, tasks of one shape); a small group does not pay for a whole batch."""
    by_shape = collections.defaultdict(list)
    for task in tasks:
        by_shape[task.shape].append(task)
    for group in by_shape.values():
        size = min(batch_size, len(group))
        for start in range(0, len(group), size):
            yield size, group[start : start + size]


def _read_ahead(
    pool: ThreadPoolExecutor,
    predictor: PosePredictor,
    groups: Iterable[tuple[int, list[Task]]],
) -> Iterator[_Batch]:
    """Reads and resizes batches, always a few ahead of the one in use."""
    waiting: collections.deque[Future[_Batch]] = collections.deque()
    for size, tasks in groups:
        waiting.append(pool.submit(_read_batch, predictor, size, tasks))
        if len(waiting) > _BATCHES_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _read_batch(predictor: PosePredictor, size: int, tasks: Sequence[Task]) -> _Batch:
    images, errors = {}, []
    for task in tasks:
        try:
            images[task] = read_image(task.source)
        except InputError as error:
            errors.append(error)
    inputs = predictor.prepare(list(images.values()), size) if images else None
    return _Batch(images, inputs, errors)


def _draw(
    path: Path, image: np.ndarray, poses: Poses, skeleton: Skeleton, score_threshold: float
) -> None:
    picture = draw_poses(
        image, poses.keypoints, poses.scores, skeleton, score_threshold=score_threshold
    )
    options = [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY] if path.suffix == ".jpg" else []
    bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(path.suffix, bgr, options)
    write_whole(path, data.tobytes())


def _finish(futures: list[Future[None]]) -> None:
    """Waits for all and forgets them; an error in one is raised here."""
    for future in futures:
        future.result()
    futures.clear()


def _check_output(out: Path, tasks: Sequence[Task]) -> None:
    """Makes the folder; raises InputError where a drawn picture would replace an input."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot be made ({error.strerror})") from error
    sources = {task.source.resolve() for task in tasks}
    for task in tasks:
        if task.drawing.resolve() in sources:
            raise UsageError(f"--out {out}: would replace the input {task.drawing}; name another")


def _report(error: InputError) -> int:
    """One line for one input, above the progress bar; counts as one failure."""
    tqdm.write(f"pinet-jax predict: {error}", file=sys.stderr)
    return 1
