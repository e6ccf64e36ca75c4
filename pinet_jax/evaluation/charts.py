"""The report's charts: plain SVG, coloured by the page's style sheet, sharp at any size.

Coordinates are SVG user units of a 420 x 280 picture; a phone shows it at about that size.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from pinet_jax.evaluation.matching import RECALL_LEVELS
from pinet_jax.evaluation.summary import CrowdingBin

_WIDTH, _HEIGHT = 420, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 42, 408, 14, 232  # of the plotting area


def precision_recall_chart(precision: np.ndarray) -> str:
    """Precision over recall, at OKS 0.5, at 0.75, and the mean over all thresholds.

    Args:
        precision: [T, R], interpolated, as COCO has it.
    """
    curves = (
        ("OKS 0.5", precision[0]),
        ("OKS 0.75", precision[5]),
        ("mean 0.5 to 0.95", precision.mean(axis=0)),
    )
    parts = [_axes("recall, %", "precision", np.linspace(0, 1, 6))]
    legend = []
    for number, (label, curve) in enumerate(curves):
        points = " ".join(
            f"{_x(recall):.1f},{_y(value):.1f}"
            for recall, value in zip(RECALL_LEVELS, curve, strict=True)
        )
        parts.append(f'<polyline class="line s{number}" points="{points}"/>')
        text = f"{label}: {100 * curve.mean():.1f}"
        legend.append(f'<li><i class="key k{number}"></i>{escape(text)}</li>')
    return _picture("Precision over recall", parts) + f'<ul class="legend">{"".join(legend)}</ul>'


def crowding_chart(bins: Sequence[CrowdingBin]) -> str:
    """A bar a bin of mean box IoU, with its interval and how many images it has."""
    width = (_RIGHT - _LEFT) / len(bins)
    highest = max((b.interval[1] if b.interval else b.AP) or 0.0 for b in bins)
    top = next(top for top in (0.1, 0.2, 0.25, 0.5, 1.0) if highest <= top)  # round fifths
    parts = [_axes("", "AP", None, top)]
    for number, part in enumerate(bins):
        left = _LEFT + number * width
        middle = left + width / 2
        parts.append(f'<text class="mid" x="{left:.1f}" y="{_BOTTOM + 16}">{part.low:g}</text>')
        parts.append(
            f'<text class="mid faint" x="{middle:.1f}" y="{_BOTTOM + 32}">{part.images}</text>'
        )
        if part.AP is not None:
            parts.append(_bar(part, left, width, top))
    parts.append(f'<text class="mid" x="{_RIGHT}" y="{_BOTTOM + 16}">{bins[-1].high:g}</text>')
    parts.append(
        f'<text class="mid" x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 2}">'
        "mean box IoU; small: number of images</text>"
    )
    return _picture("AP by crowding", parts)


def _bar(part: CrowdingBin, left: float, width: float, top: float) -> str:
    assert part.AP is not None
    y = _y(part.AP / top)
    span = ""
    title = f"mean IoU {part.low:g} to {part.high:g}: AP {100 * part.AP:.1f}"
    if part.interval:
        low, high = part.interval
        title += f", 95% interval {100 * low:.1f} to {100 * high:.1f}"
        x = left + width / 2
        span = (
            f'<path class="whisker" d="M{x:.1f} {_y(low / top):.1f}V{_y(high / top):.1f}'
            f'm-4 0h8M{x - 4:.1f} {_y(low / top):.1f}h8"/>'
        )
    title += f"; {part.images} images, {part.people} people"
    return (
        f"<g><title>{escape(title)}</title>"
        f'<rect class="bar" x="{left + 0.14 * width:.1f}" y="{y:.1f}" '
        f'width="{0.72 * width:.1f}" height="{_BOTTOM - y:.1f}" rx="2"/>{span}</g>'
    )


def _axes(
    x_label: str, y_label: str, x_ticks: Sequence[float] | np.ndarray | None, top: float = 1.0
) -> str:
    """Grid, ticks and labels; `top` is the value at the upper end."""
    parts = []
    for share in np.linspace(0, 1, 6):
        y = _y(share)
        parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y:.1f}" x2="{_RIGHT}" y2="{y:.1f}"/>')
        parts.append(
            f'<text class="end" x="{_LEFT - 6}" y="{y + 4:.1f}">{100 * share * top:.0f}</text>'
        )
    for tick in () if x_ticks is None else x_ticks:
        parts.append(
            f'<text class="mid" x="{_x(tick):.1f}" y="{_BOTTOM + 16}">{100 * tick:.0f}</text>'
        )
    middle = (_TOP + _BOTTOM) / 2
    parts.append(
        f'<text class="mid" x="{(_LEFT + _RIGHT) / 2}" y="{_HEIGHT - 10}">{escape(x_label)}</text>'
        f'<text class="mid" transform="translate(11 {middle}) rotate(-90)">{escape(y_label)}, %'
        "</text>"
    )
    return "".join(parts)


def _picture(title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="{escape(title)}">{"".join(parts)}</svg>'
    )


def _x(share: float) -> float:
    return _LEFT + float(share) * (_RIGHT - _LEFT)


def _y(share: float) -> float:
    return _BOTTOM - float(share) * (_BOTTOM - _TOP)
