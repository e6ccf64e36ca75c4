"""Figures as a table to read, in percent, and as JSON, fractions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pinet_jax.evaluation.summary import Difference, Interval, Summary


def to_json(
    summary: Summary, differences: Mapping[str, Difference] | None = None
) -> dict[str, Any]:
    """What `score` writes: the metrics under their names, then everything around them."""
    content: dict[str, Any] = {
        **summary.metrics,
        "metric": summary.metric,
        "images": summary.images,
        "people": summary.people,
        "poses": summary.poses,
        "intervals": {key: list(bounds) for key, bounds in summary.intervals.items()},
        "interval_level": 0.95,
        "people_of": summary.people_of,
        "resamples": summary.resamples,
        "crowding": [dataclasses.asdict(bin) for bin in summary.crowding],
    }
    if differences is not None:
        content["comparison"] = {k: dataclasses.asdict(d) for k, d in differences.items()}
    return content


def to_text(summary: Summary, differences: Mapping[str, Difference] | None = None) -> str:
    """Tables for a terminal, in percent."""
    lines = [
        f"{summary.metric} keypoints: {summary.images} images, {summary.people} people, "
        f"{summary.poses} poses",
        "",
        f"{'':<16}{'%':>6}   95% interval",
    ]
    if not summary.people:
        lines.append("no figures: nobody outside of crowds has a labelled keypoint to be found by")
    for key, figure in summary.metrics.items():
        note = people_note(summary, key) or _span(summary.intervals.get(key))
        lines.append(f"{key:<16}{percent(figure):>6}   {note}".rstrip())
    lines += ["", f"{'mean box IoU':<13}{'images':>8}{'people':>8}{'AP':>7}   95% interval"]
    for bin in summary.crowding:
        lines.append(
            f"{bin_name(bin.low, bin.high):<13}{bin.images:>8}{bin.people:>8}"
            f"{percent(bin.AP):>7}   {_span(bin.interval)}".rstrip()
        )
    if differences is not None:
        lines += [
            "",
            f"{'compared':<13}{'this':>6}{'other':>7}{'diff':>7}   {'95% interval':<18}better in",
        ]
        lines += [
            f"{key:<13}{percent(d.first):>6}{percent(d.second):>7}{100 * d.difference:>+7.1f}"
            f"   {_span(d.interval, signed=True):<18}{100 * d.first_better:.0f}% of resamples"
            for key, d in differences.items()
        ]
    return "\n".join(lines)


def bin_name(low: float, high: float) -> str:
    """A crowding bin as tables write it."""
    return f"{low:g} - {high:g}"


def percent(figure: float | None) -> str:
    """A fraction as the paper's tables write it."""
    return "-" if figure is None else f"{100 * figure:.1f}"


def people_note(summary: Summary, key: str) -> str:
    """How many people a figure of one size is made of; empty for any other figure."""
    people = summary.people_of.get(key)
    return "" if people is None else "1 person" if people == 1 else f"{people:,} people"


def _span(bounds: Interval | None, signed: bool = False) -> str:
    form = "+.1f" if signed else ".1f"
    return "" if bounds is None else f"{100 * bounds[0]:{form}} .. {100 * bounds[1]:{form}}"
