"""The page's charts, drawn by matplotlib as SVG.

Their colours are read on a light and on a dark ground alike, and their text is the page's own.

Legend for shapes: T thresholds, R recall levels.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pinet_jax.evaluation.matching import RECALL_LEVELS
from pinet_jax.evaluation.summary import CrowdingBin

_TEXT, _GRID = "#7b8698", "#8a94a640"
_GRAY, _ORANGE, _BLUE = "#98a2b3", "#d9730d", "#3b82f6"
_SVG: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "pinet-jax",
    "font.family": "sans-serif",
}
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def precision_recall_chart(precision: np.ndarray) -> str:
    """Precision over recall, at OKS 0.5, at 0.75, and the mean over all thresholds, as SVG.

    Args:
        precision: [T, R], interpolated, as COCO has it.
    """
    curves = (
        ("OKS 0.5", precision[0], _GRAY),
        ("OKS 0.75", precision[5], _ORANGE),
        ("mean 0.5 to 0.95", precision.mean(axis=0), _BLUE),
    )
    figure, axes = _chart("recall, %", "precision, %")
    for label, curve, color in curves:
        axes.plot(
            100 * RECALL_LEVELS,
            100 * curve,
            color=color,
            linewidth=1.8,
            label=f"{label}: {100 * curve.mean():.1f}",
        )
    axes.set(xlim=(0, 100), ylim=(0, 102))
    axes.legend(frameon=False, labelcolor=_TEXT, fontsize=9)
    return _svg(figure)


def crowding_chart(bins: Sequence[CrowdingBin]) -> str:
    """A bar a bin of mean box IoU, with its interval and how many images it has, as SVG."""
    filled = [(place, bin) for place, bin in enumerate(bins) if bin.AP is not None]
    places = [place for place, _ in filled]
    heights = [100 * bin.AP for _, bin in filled if bin.AP is not None]
    figure, axes = _chart("mean box IoU; below, the number of images", "AP, %")
    axes.bar(places, heights, width=0.72, color=_BLUE, alpha=0.85)
    for place, bin in filled:
        if bin.interval:
            low, high = bin.interval
            axes.vlines(place, 100 * low, 100 * high, color=_TEXT)
    names = [f"{bin.low:g}-{bin.high:g}\n{bin.images}" for bin in bins]
    axes.set_xticks(range(len(bins)), names, fontsize=7.5)
    axes.set_xlim(-0.6, len(bins) - 0.4)
    axes.set_ylim(0)
    return _svg(figure)


def _chart(x_label: str, y_label: str) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label, color=_TEXT, fontsize=9)
    axes.set_ylabel(y_label, color=_TEXT, fontsize=9)
    axes.tick_params(colors=_TEXT, labelsize=9, length=0)
    axes.spines[:].set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(axis="y", color=_GRID)
    return figure, axes


def _svg(figure: Figure) -> str:
    """The element alone, without the prologue, which names addresses."""
    buffer = io.StringIO()
    with matplotlib.rc_context(_SVG):
        figure.savefig(buffer, format="svg", transparent=True, metadata=_NO_METADATA)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
