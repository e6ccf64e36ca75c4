"""The report: one HTML file with figures, charts and a gallery, and nothing fetched from anywhere.

Pictures are JPEG inside the page; poses are data that the page draws over them, so that layers can
be switched and a picture is stored once. `report.html` beside this file is the page.

Legend for shapes: N poses, K keypoints, T thresholds, R recall levels, H and W of an image.
"""

from __future__ import annotations

import base64
import dataclasses
import io
import json
from collections.abc import Callable, Mapping, Sequence
from html import escape
from importlib.resources import files
from typing import Any, NamedTuple, Protocol

import numpy as np
from PIL import Image

from pinet_jax.evaluation.charts import crowding_chart, precision_recall_chart
from pinet_jax.evaluation.coco import Evaluation
from pinet_jax.evaluation.keypoint_errors import KINDS, KeypointErrors
from pinet_jax.evaluation.matching import per_image
from pinet_jax.evaluation.results import Dataset
from pinet_jax.evaluation.summary import (
    Difference,
    Summary,
    box_iou_of_images,
    people_note,
    percent,
)
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


class _Poses(NamedTuple):
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


@dataclasses.dataclass(frozen=True)
class Report:
    """What the page shows.

    Attributes:
        title: its heading.
        protocol: what was measured, in words, by name: trained on, tested on, scales, flip, ...
        summary: the figures.
        precision: [T, R] of the evaluation.
        errors: by keypoint.
        skeleton: whose names and limbs are shown.
        references: figures of the paper as fractions, by name of a metric.
        speed: timing in words, by name; empty where nothing was timed.
        differences: to another system, or None.
        gallery: images with poses.
        shown_score: poses below it are hidden at first.
    """

    title: str
    protocol: Mapping[str, str]
    summary: Summary
    precision: np.ndarray
    errors: KeypointErrors
    skeleton: Skeleton
    references: Mapping[str, float] = dataclasses.field(default_factory=dict)
    speed: Mapping[str, str] = dataclasses.field(default_factory=dict)
    differences: Mapping[str, Difference] | None = None
    gallery: Sequence[GalleryItem] = ()
    shown_score: float = 0.0


def render(report: Report) -> str:
    """The page as HTML text."""
    sections = {
        "title": escape(report.title),
        "protocol": _definitions(report.protocol),
        "tiles": _tiles(report.summary),
        "metrics": _metrics_table(report.summary, report.references),
        "comparison": _comparison(report.differences),
        "charts": _charts(report),
        "errors": _errors(report.errors, report.skeleton),
        "speed": _section("Speed", _definitions(report.speed)) if report.speed else "",
        "gallery": _gallery_data(report),
    }
    page = files("pinet_jax.evaluation").joinpath("report.html").read_text(encoding="utf-8")
    head, *rest = page.split("{{")
    # Split rather than replaced one by one: a section's own text is never searched for marks.
    return head + "".join(
        sections[name.strip()] + text for name, text in (part.split("}}", 1) for part in rest)
    )


def choose_images(evaluation: Evaluation, count: int, *, seed: int = 0) -> dict[int, list[str]]:
    """Picks the best, the worst and random images by their own AP.

    Of equal AP, images with more people come first: one person found alone says little.

    Args:
        evaluation: of the whole split.
        count: images a group.
        seed: of the random ones.

    Returns:
        image id -> the groups it is in.
    """
    matches = evaluation.matches
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
    evaluation: Evaluation,
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
        evaluation: of these two.
        skeleton: of both.
        chosen: image id -> groups, from `choose_images`.
        read_image: from an entry of the dataset's images to its pixels; without it, poses are
            drawn on an empty ground.
        stages: image id -> poses by name, shown between ground truth and results: what the network
            had before the result (coarse, refined).
        name: of the results' layer.
    """
    matches = evaluation.matches
    index_of = {int(image_id): i for i, image_id in enumerate(matches.image_ids)}
    precision, oks = per_image(matches)
    overlap = box_iou_of_images(dataset, matches.image_ids)
    items = []
    for entry in dataset["images"]:
        if entry["id"] not in chosen:
            continue
        index = index_of[entry["id"]]
        people = [p for p in dataset["annotations"] if p["image_id"] == entry["id"]]
        image = read_image(entry) if read_image else None
        before = (stages or {}).get(entry["id"], {})
        items.append(
            GalleryItem(
                name=str(entry.get("file_name", entry["id"])),
                groups=tuple(chosen[entry["id"]]),
                image=image,
                size=_size(entry, image, people),
                layers={
                    GROUND_TRUTH: _poses(people, skeleton),
                    **{k: _best(poses) for k, poses in before.items()},
                    name: _poses([r for r in results if r["image_id"] == entry["id"]], skeleton),
                },
                areas=np.array([person["area"] for person in people], float),
                ap=_known(precision[index]),
                oks=_known(oks[index]),
                people=int(matches.people[index]),
                box_iou=float(overlap[index]),
            )
        )
    return tuple(items)


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


def _poses(entries: Sequence[Mapping[str, Any]], skeleton: Skeleton) -> _Poses:
    keypoints = np.array([entry["keypoints"] for entry in entries], float)
    keypoints = keypoints.reshape(len(entries), skeleton.num_keypoints, 3)
    return _Poses(keypoints, np.array([e.get("score", 1.0) for e in entries], float))


def _best(poses: Poses) -> _Poses:
    """The candidates of one image are many; the best tell enough."""
    order = np.argsort(-poses.scores, kind="stable")[:_MOST_CANDIDATES]
    return _Poses(poses.keypoints[order], poses.scores[order])


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _gallery_data(report: Report) -> str:
    groups = dict.fromkeys(group for item in report.gallery for group in item.groups)
    data = {
        "groups": [group for group in GROUPS if group in groups],
        "edges": [list(edge) for edge in report.skeleton.edges],
        "colors": ["#{:02x}{:02x}{:02x}".format(*person_color(i)) for i in range(_COLORS)],
        "shownScore": report.shown_score,
        "items": [_item_data(item) for item in report.gallery],
    }
    # "</" could end the script element that holds the data.
    return json.dumps(data, separators=(",", ":"), allow_nan=False).replace("</", "<\\/")


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


def _section(title: str, body: str, note: str = "") -> str:
    note = f'<p class="note">{note}</p>' if note else ""
    return f"<section><h2>{escape(title)}</h2>{note}{body}</section>"


def _definitions(pairs: Mapping[str, str]) -> str:
    rows = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in pairs.items())
    return f"<dl>{rows}</dl>" if rows else ""


def _tiles(summary: Summary) -> str:
    """The figures a reader looks for first."""
    tiles = []
    for key in [key for key in summary.metrics if key.startswith("AP")]:
        tiles.append(
            f'<div class="tile"><b>{percent(summary.metrics[key])}</b>'
            f"<span>{_metric_name(key)}</span>"
            f"<small>{_note(summary, key) or '&nbsp;'}</small></div>"
        )
    return "".join(tiles)


def _metric_name(key: str) -> str:
    """AP50 as the field writes it, AP_area_large in words."""
    base, number = key.rstrip("0123456789"), key[len(key.rstrip("0123456789")) :]
    return f"{base.replace('_', ' ')}<sub>{number}</sub>" if number else base.replace("_", " ")


def _metrics_table(summary: Summary, references: Mapping[str, float]) -> str:
    header = "<th></th><th>%</th><th>95% interval</th>" + "<th>paper</th>" * bool(references)
    rows = []
    for key, figure in summary.metrics.items():
        paper = f"<td>{percent(references.get(key))}</td>" if references else ""
        rows.append(
            f"<tr><th>{_metric_name(key)}</th><td><b>{percent(figure)}</b></td>"
            f"<td>{_note(summary, key)}</td>{paper}</tr>"
        )
    note = (
        f"{summary.images:,} images, {summary.people:,} people, {summary.poses:,} poses. "
        + f"Intervals: bootstrap over images, {summary.resamples:,} resamples."
        * bool(summary.intervals)
    )
    return _section("Metrics", _table(header, rows), note)


def _comparison(differences: Mapping[str, Difference] | None) -> str:
    if not differences:
        return ""
    header = (
        "<th></th><th>this</th><th>other</th><th>difference</th><th>95% interval</th>"
        "<th>better in</th>"
    )
    rows = [
        f"<tr><th>{_metric_name(key)}</th><td>{percent(d.first)}</td><td>{percent(d.second)}</td>"
        f"<td><b>{100 * d.difference:+.1f}</b></td><td>{_bounds(d.interval, '+.1f')}</td>"
        f"<td>{100 * d.first_better:.0f}%</td></tr>"
        for key, d in differences.items()
    ]
    note = "Both systems on the same resampled images; an interval without 0 is a clear difference."
    return _section("Comparison", _table(header, rows), note)


def _charts(report: Report) -> str:
    if report.summary.metrics["AP"] is None:
        return ""
    return (
        '<div class="columns">'
        + _section("Precision and recall", precision_recall_chart(report.precision))
        + _section("AP by crowding", crowding_chart(report.summary.crowding))
        + "</div>"
    )


def _errors(errors: KeypointErrors, skeleton: Skeleton) -> str:
    kinds = (*KINDS, "undetected")
    legend = "".join(f'<li><i class="key e-{kind}"></i>{kind}</li>' for kind in kinds)
    rows = []
    for k, name in enumerate(skeleton.keypoints):
        counts = [*errors.counts[k], errors.undetected[k]]
        total = sum(counts)
        bars = "".join(
            f'<i class="e-{kind}" style="flex-grow:{count}" '
            f'title="{kind}: {count:,} of {total:,}"></i>'
            for kind, count in zip(kinds, counts, strict=True)
            if count
        )
        share = percent(counts[0] / total) if total else "-"
        similarity = errors.similarity[k]
        rows.append(
            f"<tr><th>{escape(name.replace('_', ' '))}</th>"
            f'<td class="wide"><div class="stack">{bars}</div></td><td>{share}</td>'
            f"<td>{'-' if np.isnan(similarity) else f'{similarity:.2f}'}</td></tr>"
        )
    header = "<th></th><th></th><th>good, %</th><th>similarity</th>"
    note = (
        "What became of every labelled keypoint. Good: near; jitter: roughly there; inversion: "
        "the other side of the same person; swap: somebody else's; miss: nowhere near; "
        "undetected: the whole person was not found at OKS 0.5. Similarity: mean over people found."
    )
    body = f'<ul class="legend">{legend}</ul>' + _table(header, rows)
    return _section("Errors by keypoint", body, note)


def _table(header: str, rows: Sequence[str]) -> str:
    return (
        f'<div class="scroll"><table><thead><tr>{header}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _note(summary: Summary, key: str) -> str:
    """What stands beside a figure: its interval or, of people of one size, their number."""
    return people_note(summary, key) or _bounds(summary.intervals.get(key))


def _bounds(bounds: tuple[float, float] | None, form: str = ".1f") -> str:
    return "" if bounds is None else f"{100 * bounds[0]:{form}} to {100 * bounds[1]:{form}}"
