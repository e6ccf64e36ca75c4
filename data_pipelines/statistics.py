"""How crowded and how occluded a split is: counted, as a table and as a plot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from data_pipelines.annotations import Annotations, is_kept
from pinet_jax.evaluation.crowding import BIN_EDGES, Crowding, crowding, histogram
from pinet_jax.skeletons import Skeleton

PEOPLE_BINS = (0, 1, 2, 3, 4, 5, 6, 10, 20)  # the last one is open
INK, QUIET = "#22303c", "#8895a1"
BLUE, LIGHT, PALE = "#2f6f9f", "#9cc3de", "#e3e8ec"


def count(annotations: Annotations) -> Crowding:
    """The figures of a split's sound records; crowd regions are not people."""
    num_keypoints = annotations.skeleton.num_keypoints

    def images() -> Iterator[tuple[np.ndarray, np.ndarray, float | None]]:
        for image in annotations.images:
            people = list(filter(is_kept, annotations.people[image["id"]]))
            boxes = np.array([p["bbox"] for p in people], np.float64).reshape(-1, 4)
            keypoints = np.array([p["keypoints"] for p in people], np.float64)
            yield boxes, keypoints.reshape(-1, num_keypoints, 3), image.get("crowdIndex")

    return crowding(images(), annotations.skeleton)


def table(name: str, figures: Crowding, skeleton: Skeleton) -> str:
    """The figures as text for a terminal."""
    people_counts, people_labels = _people_histogram(figures)
    index = "crowdIndex" if figures.crowd_index_known else "crowdIndex, computed"
    tenths = [f"{tenth / 10:.1f}-" for tenth in range(9)]
    rows: list[str | None] = [
        f"{name}: {figures.images} images, {figures.people} people",
        "",
        _row("people", people_labels),
        _row("  images with so many", people_counts),
        "",
        _row("images with a value of", [*tenths, "0.9+", "mean"]),
        _row("  mean box IoU", _tenths(figures.box_iou)),
        _row(f"  {index}", _tenths(figures.crowd_index)),
        "",
        _row("keypoints, % of people", ["visible", "hidden", "none"]),
    ]
    shares = _percent_visibility(figures)
    for keypoint, (none, hidden, visible) in zip(skeleton.keypoints, shares, strict=True):
        rows.append(_row(f"  {keypoint}", [f"{v:.1f}" for v in (visible, hidden, none)]))
    rows += [_never_visible(figures, skeleton)]
    rows += ["", _row("parts, % with no keypoint", ["visible", "at all"])]
    for partition, share in figures.hidden_parts.items():
        unlabelled = figures.unlabelled_parts[partition]
        rows.append(_row(f"  {partition}", [f"{100 * share:.1f}", f"{100 * unlabelled:.1f}"]))
    return "\n".join(row for row in rows if row is not None)


def _never_visible(figures: Crowding, skeleton: Skeleton) -> str | None:
    """A word on keypoints whose v says little: CrowdPose's heads and necks all have v = 1."""
    _, hidden, visible = figures.visibility.T
    names = [skeleton.keypoints[k] for k in np.flatnonzero((hidden > 0) & (visible == 0))]
    return f"  (never marked visible: {', '.join(names)})" if names else None


def _row(label: str, cells: list[str] | list[int]) -> str:
    return f"{label:<29}" + "".join(f"{cell!s:>8}" for cell in cells)


def _people_histogram(figures: Crowding) -> tuple[list[int], list[str]]:
    edges = [*PEOPLE_BINS, np.inf]
    counts, _ = np.histogram(figures.people_per_image, edges)
    labels = [
        f"{low}" if high == low + 1 else f"{low}-{high - 1:.0f}" if high < np.inf else f"{low}+"
        for low, high in zip(PEOPLE_BINS, edges[1:], strict=True)
    ]
    return counts.tolist(), labels


def _tenths(values: np.ndarray) -> list[str]:
    counts = histogram(values, np.linspace(0, 1, 11))
    return [*map(str, counts), f"{values.mean():.3f}" if len(values) else "-"]


def _percent_visibility(figures: Crowding) -> np.ndarray:
    """[K, 3]: the per cent of people whose keypoint has v = 0, 1, 2."""
    return 100 * figures.visibility / max(figures.people, 1)


def plot(name: str, figures: Crowding, skeleton: Skeleton) -> Figure:
    """The figures as one page of charts."""
    page = Figure(
        figsize=(14, 9.2),
        layout=ConstrainedLayoutEngine(w_pad=0.15, h_pad=0.15, hspace=0.05, wspace=0.02),
    )
    page.suptitle(
        f"{name}: {figures.images:,} images, {figures.people:,} people",
        x=0.02, ha="left", fontsize=15, color=INK, fontweight="bold",
    )  # fmt: skip
    top: list[Any] = ["people"] * 4 + ["overlap"] * 4 + ["index"] * 4
    bottom: list[Any] = ["visibility"] * 7 + ["parts"] * 5
    charts = page.subplot_mosaic([top, bottom], height_ratios=(1, 1.35))
    _plot_people(charts["people"], figures)
    _plot_shares(charts["overlap"], "Mean IoU of people's boxes", figures.box_iou)
    source = "" if figures.crowd_index_known else ", computed"
    last = f"the last bin: {BIN_EDGES[-2]:g} and above"
    _plot_shares(charts["index"], f"crowdIndex{source}", figures.crowd_index, last)
    _plot_visibility(charts["visibility"], figures, skeleton)
    _plot_parts(charts["parts"], figures)
    return page


def _plain(axes: Axes, title: str, x_label: str = "", y_label: str = "") -> None:
    """What all charts have in common: no frame, a quiet grid."""
    axes.set_title(title, loc="left", fontsize=11.5, color=INK, pad=10)
    axes.set_xlabel(x_label, color=QUIET, fontsize=9.5)
    axes.set_ylabel(y_label, color=QUIET, fontsize=9.5)
    axes.tick_params(colors=INK, labelsize=9, length=0, pad=6)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=PALE)


def _plot_people(axes: Axes, figures: Crowding) -> None:
    counts, labels = _people_histogram(figures)
    _plain(axes, f"People per image (mean {figures.people_per_image.mean():.2f})", "", "images")
    axes.locator_params(axis="y", integer=True)
    axes.bar(labels, counts, color=BLUE, width=0.85)


def _plot_shares(axes: Axes, title: str, values: np.ndarray, x_label: str = "") -> None:
    _plain(axes, f"{title} (mean {values.mean():.2f})", x_label, "images")
    axes.locator_params(axis="y", integer=True)
    width = np.diff(BIN_EDGES)
    axes.bar(
        BIN_EDGES[:-1] + width / 2, histogram(values, BIN_EDGES), width=0.88 * width, color=BLUE
    )
    axes.axvline(values.mean(), color=INK, linewidth=1, linestyle=(0, (4, 3)))
    axes.set_xlim(0, 1)


def _plot_visibility(axes: Axes, figures: Crowding, skeleton: Skeleton) -> None:
    none, hidden, visible = _percent_visibility(figures).T
    labels = [keypoint.replace("_", " ") for keypoint in skeleton.keypoints]
    _plain(axes, "Keypoints", "% of people")
    axes.grid(visible=False)
    start = np.zeros(len(labels))
    for share, color, label in (
        (visible, BLUE, "visible"),
        (hidden, LIGHT, "labelled, hidden"),
        (none, PALE, "not labelled"),
    ):
        axes.barh(labels, share, left=start, color=color, height=0.8, label=label)
        start += share
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.margins(y=0.01)
    axes.legend(
        loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=3, frameon=False, fontsize=9,
        labelcolor=INK, handlelength=1, handleheight=1,
    )  # fmt: skip


def _plot_parts(axes: Axes, figures: Crowding) -> None:
    names = list(figures.hidden_parts)
    shares = 100 * np.array(list(figures.hidden_parts.values()))
    _plain(axes, "Parts without a visible keypoint, by partition", "", "% of parts")
    bars = axes.bar(names, shares, color=BLUE, width=0.65)
    axes.bar_label(bars, fmt="%.1f", padding=3, color=INK, fontsize=9.5)
    axes.margins(y=0.12)
