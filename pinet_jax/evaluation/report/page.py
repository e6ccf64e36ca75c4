"""What the report says, and the page that says it.

Legend for shapes: T thresholds, R recall levels, K keypoints.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jinja2
import numpy as np
from markupsafe import Markup, escape

from pinet_jax.evaluation.keypoint_errors import KINDS, KeypointErrors
from pinet_jax.evaluation.report.charts import crowding_chart, precision_recall_chart
from pinet_jax.evaluation.report.gallery import GalleryItem, gallery_data
from pinet_jax.evaluation.summary import Difference, Interval, Summary
from pinet_jax.evaluation.tables import people_note, percent
from pinet_jax.skeletons import Skeleton


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
    """The page as HTML text; every name from a file is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pinet_jax.evaluation", "report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"percent": percent, "metric": _metric_name, "bounds": _bounds}
    charts = {}
    if report.summary.metrics["AP"] is not None:
        charts = {
            "Precision and recall": Markup(precision_recall_chart(report.precision)),
            "AP by crowding": Markup(crowding_chart(report.summary.crowding)),
        }
    return environment.get_template("report.html").render(
        report=report,
        notes={key: _note(report.summary, key) for key in report.summary.metrics},
        charts=charts,
        kinds=(*KINDS, "undetected"),
        errors=list(_keypoint_rows(report.errors, report.skeleton)),
        gallery=_script_data(report),
    )


class _KeypointRow(NamedTuple):
    """What became of one keypoint's labels."""

    name: str
    counts: Mapping[str, int]  # by kind of error
    total: int
    good: float | None  # share
    similarity: float | None


def _keypoint_rows(errors: KeypointErrors, skeleton: Skeleton) -> list[_KeypointRow]:
    rows = []
    for k, name in enumerate(skeleton.keypoints):
        by_kind = dict(zip(KINDS, errors.counts[k].tolist(), strict=True))
        counts = by_kind | {"undetected": int(errors.undetected[k])}
        total = sum(counts.values())
        similarity = float(errors.similarity[k])
        rows.append(
            _KeypointRow(
                name=name.replace("_", " "),
                counts=counts,
                total=total,
                good=counts["good"] / total if total else None,
                similarity=None if np.isnan(similarity) else similarity,
            )
        )
    return rows


def _script_data(report: Report) -> Markup:
    data = gallery_data(report.gallery, report.skeleton, report.shown_score)
    text = json.dumps(data, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("</", "<\\/"))  # "</" could end the script element


def _metric_name(key: str) -> Markup:
    """AP50 as the field writes it, AP_area_large in words."""
    base = key.rstrip("0123456789")
    number = key[len(base) :]
    return escape(base.replace("_", " ")) + (
        Markup("<sub>{}</sub>").format(number) if number else ""
    )


def _note(summary: Summary, key: str) -> str:
    """What stands beside a figure: its interval or, of people of one size, their number."""
    return people_note(summary, key) or _bounds(summary.intervals.get(key))


def _bounds(bounds: Interval | None, form: str = ".1f") -> str:
    return "" if bounds is None else f"{100 * bounds[0]:{form}} to {100 * bounds[1]:{form}}"
