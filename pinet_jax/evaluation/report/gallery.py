"""The gallery: which images are shown, and their poses as data that the page draws over them.

Pictures are JPEG inside the page; poses are data, so that layers can be switched and a picture is
stored once.

Legend for shapes: N poses, K keypoints, G people, H and W of an image.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from pinet_jax.evaluation.dataset import Dataset
from pinet_jax.evaluation.matching import Matches, per_image
from pinet_jax.evaluation.summary import box_iou_of_images
from pinet_jax.skeletons import Skeleton
from pinet_jax.visualization import person_color

GROUND_TRUTH = "ground truth"
GROUPS = ("best", "worst", "random")
_LONGEST_SIDE = 640  # of a picture in the page, pixels
_JPEG_QUALITY = 72
_MOST_CANDIDATES = 30  # of a stage before the result
_COLORS = 21  # distinct ones that `person_color` has
# A pose further from every person than this share of a person's size keeps a neutral colour.
_SAME_PERSON = 0.25


class Poses(Protocol):
    """Poses of one image, such as `pinet_jax.inference.Poses`."""

    @property
    def keypoints(self) -> np.ndarray:
        """[N, K, 3], (x, y, score) in image pixels; visibility for ground truth."""

    @property
    def scores(self) -> np.ndarray:
        """[N]."""


class _Layer(NamedTuple):
    """`Poses` of a layer of the gallery."""

    keypoints: np.ndarray
    scores: np.ndarray


@dataclasses.dataclass(frozen=True)
class GalleryItem:
    """One image of the gallery.

    Attributes:
        name: its file name.
        groups: what it was chosen as, of `GROUPS`.
        image: uint8 [H, W, 3], RGB, or None to draw poses on an empty ground.
        size: (width, height) in pixels.
        layers: poses by name, in the order of the panels; the first is the ground truth.
        areas: [N], of the people of the ground truth.
        ap: AP of this image alone, or None without people.
        oks: mean OKS of its people, 0 for those not found; None without people.
        people: how many count.
        box_iou: mean IoU of their boxes.
    """

    name: str
    groups: tuple[str, ...]
    image: np.ndarray | None
    size: tuple[int, int]
    layers: Mapping[str, Poses]
    areas: np.ndarray
    ap: float | None
    oks: float | None
    people: int
    box_iou: float


def choose_images(matches: Matches, count: int, *, seed: int = 0) -> dict[int, list[str]]:
    """Picks the best, the worst and random images by their own AP.

    Of equal AP, images with more people come first: one person found alone says little.

    Args:
        matches: of the whole split.
        count: images a group.
        seed: of the random ones.

    Returns:
        image id -> the groups it is in.
    """
    precision, oks = per_image(matches)
    with_people = np.flatnonzero(matches.people).tolist()
    best = sorted(with_people, key=lambda i: (-precision[i], -matches.people[i], -oks[i]))
    worst = sorted(with_people, key=lambda i: (precision[i], -matches.people[i], oks[i]))
    shuffled = np.random.default_rng(seed).permutation(len(matches.image_ids)).tolist()
    chosen: dict[int, list[str]] = {}
    for group, indices in zip(GROUPS, (best, worst, shuffled), strict=True):
        for index in indices[:count]:
            chosen.setdefault(int(matches.image_ids[index]), []).append(group)
    return chosen


def gallery(
    dataset: Dataset,
    results: Sequence[Mapping[str, Any]],
    matches: Matches,
    skeleton: Skeleton,
    chosen: Mapping[int, Sequence[str]],
    *,
    read_image: Callable[[Mapping[str, Any]], np.ndarray] | None = None,
    stages: Mapping[int, Mapping[str, Poses]] | None = None,
    name: str = "result",
) -> tuple[GalleryItem, ...]:
    """The chosen images with their poses.

    Args:
        dataset: checked ground truth.
        results: checked results, shown as the last layer.
        matches: of these two.
        skeleton: of both.
        chosen: image id -> groups, from `choose_images`.
        read_image: from an entry of the images to its pixels; None for an empty ground.
        stages: image id -> poses by name, shown between ground truth and results.
        name: of the results' layer.
    """
    index_of = {int(image_id): i for i, image_id in enumerate(matches.image_ids)}
    precision, oks = per_image(matches)
    overlap = box_iou_of_images(dataset, matches.image_ids)

    def item(entry: Mapping[str, Any]) -> GalleryItem:
        image_id = entry["id"]
        index = index_of[image_id]
        people = [p for p in dataset["annotations"] if p["image_id"] == image_id]
        image = read_image(entry) if read_image else None
        before = (stages or {}).get(image_id, {})
        layers = {GROUND_TRUTH: _layer(people, skeleton)}
        layers |= {stage: _best(poses) for stage, poses in before.items()}
        layers[name] = _layer([r for r in results if r["image_id"] == image_id], skeleton)
        return GalleryItem(
            name=str(entry.get("file_name", image_id)),
            groups=tuple(chosen[image_id]),
            image=image,
            size=_size(entry, image, people),
            layers=layers,
            areas=np.array([person["area"] for person in people], float),
            ap=_known(precision[index]),
            oks=_known(oks[index]),
            people=int(matches.people[index]),
            box_iou=float(overlap[index]),
        )

    return tuple(item(entry) for entry in dataset["images"] if entry["id"] in chosen)


def gallery_data(
    items: Sequence[GalleryItem], skeleton: Skeleton, shown_score: float
) -> dict[str, Any]:
    """What the page's script draws, as JSON takes it.

    Args:
        items: the images.
        skeleton: whose limbs are drawn.
        shown_score: poses below it are hidden at first.
    """
    groups = {group for item in items for group in item.groups}
    return {
        "groups": [group for group in GROUPS if group in groups],
        "edges": [list(edge) for edge in skeleton.edges],
        "colors": ["#{:02x}{:02x}{:02x}".format(*person_color(i)) for i in range(_COLORS)],
        "shownScore": shown_score,
        "items": [_item_data(item) for item in items],
    }


def _size(
    entry: Mapping[str, Any], image: np.ndarray | None, people: Sequence[Mapping[str, Any]]
) -> tuple[int, int]:
    if image is not None:
        return image.shape[1], image.shape[0]
    if entry.get("width") and entry.get("height"):
        return int(entry["width"]), int(entry["height"])
    corners = np.array([p["bbox"] for p in people] or [[0, 0, 1, 1]], float)
    right, bottom = (corners[:, :2] + corners[:, 2:]).max(axis=0)
    return max(1, int(right)), max(1, int(bottom))


def _layer(entries: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> _Layer:
    keypoints = np.array([entry["keypoints"] for entry in entries], float)
    keypoints = keypoints.reshape(len(entries), skeleton.num_keypoints, 3)
    return _Layer(keypoints, np.array([e.get("score", 1.0) for e in entries], float))


def _best(poses: Poses) -> _Layer:
    """The candidates of one image are many; the best tell enough."""
    order = np.argsort(-poses.scores, kind="stable")[:_MOST_CANDIDATES]
    return _Layer(poses.keypoints[order], poses.scores[order])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _item_data(item: GalleryItem) -> dict[str, Any]:
    truth = item.layers[GROUND_TRUTH].keypoints
    return {
        "name": item.name,
        "groups": list(item.groups),
        "w": item.size[0],
        "h": item.size[1],
        "src": None if item.image is None else _data_uri(item.image),
        "ap": item.ap,
        "oks": item.oks,
        "people": item.people,
        "iou": item.box_iou,
        "layers": [
            {"name": name, "poses": _poses_data(name, poses, truth, item.areas)}
            for name, poses in item.layers.items()
        ],
    }


def _poses_data(
    name: str, poses: Poses, truth: np.ndarray, areas: np.ndarray
) -> list[dict[str, Any]]:
    same = name == GROUND_TRUTH
    color = np.arange(len(truth)) if same else _nearest_person(poses.keypoints, truth, areas)
    return [
        {
            "c": -1 if index < 0 else int(index) % _COLORS,
            "s": round(float(score), 4),
            "k": [
                [round(float(x), 1), round(float(y), 1), round(min(float(v), 1.0), 2)]
                for x, y, v in keypoints
            ],
        }
        for keypoints, score, index in zip(poses.keypoints, poses.scores, color, strict=True)
        if not same or (keypoints[:, 2] > 0).any()
    ]


def _nearest_person(poses: np.ndarray, truth: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """The person whose labelled keypoints a pose is nearest to, int [N]; -1 far from everybody.

    It gives a pose the colour of the person it is about; it scores nothing.
    """
    if not len(poses) or not len(truth):
        return np.full(len(poses), -1)
    labelled = truth[:, :, 2] > 0  # [G, K]
    away = np.linalg.norm(poses[:, None, :, :2] - truth[None, :, :, :2], axis=-1)  # [N, G, K]
    mean = (away * labelled).sum(axis=2) / np.maximum(labelled.sum(axis=1), 1)
    size = np.where(labelled.any(axis=1), mean / np.sqrt(np.maximum(areas, 1.0)), np.inf)
    return np.where(size.min(axis=1) < _SAME_PERSON, size.argmin(axis=1), -1)


def _data_uri(image: np.ndarray) -> str:
    picture = Image.fromarray(image)
    picture.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=_JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
