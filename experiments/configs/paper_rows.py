"""The rows of published tables, a line each: the experiment's name, what it changes, the figures.

A row is the experiment of a dataset with a method of its own, or another test of it. A further
system is a function like `_pinet`, which says how it changes a dataset's experiment, and its lines
in `ROWS`. `pinet-jax train --config NAME` trains a row:

    pinet-jax train --config ochuman_static_graph --workdir runs/static \\
        --init-backbone hrnet_w32-36af842e.pth

A row that only tests otherwise trains as its neighbour, whose checkpoint it can test.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

from experiments.configs import ochuman
from experiments.configs.base import ExperimentConfig, PaperResult
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks import graphs
from pinet_jax.networks.refinement import RefinementConfig

Change = Callable[[ExperimentConfig], ExperimentConfig]


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        dataset: makes the experiment that is changed.
        change: what differs in this row.
        paper: where it stands, and its figures; None where it is a variant of ours.
    """

    dataset: Callable[[], ExperimentConfig]
    change: Change
    paper: PaperResult | None = None

    def experiment(self) -> ExperimentConfig:
        """The row's."""
        return dataclasses.replace(self.change(self.dataset()), paper=self.paper)


def _pinet(*, fusion: bool = True, **fields: Any) -> Change:
    """PINet with other fields: its partition (`center` is SPM), its refinement, or no fusion."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        assert isinstance(config.model, PINet) and isinstance(config.inference, PINetInference)
        model = dataclasses.replace(config.model, **fields)
        inference = dataclasses.replace(config.inference, fusion=fusion)
        return dataclasses.replace(config, model=model, inference=inference)

    return change


def _parts(partition: str) -> Change:
    """Part-based pose generation alone."""
    return _pinet(partition=partition, refinement=None, fusion=False)


def _graph(graph: graphs.Graph) -> Change:
    """Refinement with another graph."""
    return _pinet(refinement=RefinementConfig(graph=graph))


def _on(dataset: Callable[[], ExperimentConfig], *figures: str) -> Callable[..., Row]:
    """A function that makes rows: of a change, where it is published, and figures in percent."""

    def row(change: Change, where: str | None = None, *percent: float) -> Row:
        if where is None:
            return Row(dataset, change)
        values = dict(zip(figures, percent, strict=False))  # some papers state AP alone
        return Row(dataset, change, PaperResult.percent(where, **values))

    return row


_ochuman = _on(ochuman.get_config, "AP", "AP50", "AP75")

ROWS: dict[str, Row] = {
    # PINet's Table 1: trained on OCHuman's val, tested on its test.
    "ochuman_spm": _ochuman(_parts("center"), "Table 1a, 1b, 1d", 47.6, 67.5, 53.2),
    "ochuman_spm_pf": _ochuman(_pinet(partition="center", refinement=None), "Table 1d", 48.1),
    "ochuman_ppg": _ochuman(_parts("part-large"), "Table 1a, 1b, 1d", 53.1, 70.5, 60.4),
    "ochuman_ppg_pf": _ochuman(_pinet(refinement=None), "Table 1a, 1d", 55.8, 72.7, 62.3),
    "ochuman_ppg_pr": _ochuman(_pinet(fusion=False), "Table 1a", 58.8, 74.3, 65.5),
    "ochuman_head": _ochuman(_parts("head"), "Table 1b", 49.8),
    "ochuman_part_small": _ochuman(_parts("part-small"), "Table 1b", 50.3),  # our reading of it
    "ochuman_keypoint": _ochuman(_parts("keypoint"), "Table 1b", 40.8),
    "ochuman_no_graph": _ochuman(_graph(graphs.none), "Table 1c", 56.8, 74.1, 63.0),
    "ochuman_static_graph": _ochuman(_graph(graphs.static), "Table 1c", 57.7, 74.7, 64.3),
    # Other graphs, for which the paper has no figure.
    "ochuman_attention": _ochuman(_graph(graphs.attention)),
    "ochuman_dynamic_per_layer": _ochuman(_graph(graphs.dynamic_per_layer)),
    "ochuman_fully_connected": _ochuman(_graph(graphs.fully_connected)),
    "ochuman_nearest_neighbours": _ochuman(_graph(graphs.nearest_neighbours)),
}

# The rows of PINet's Table 1 in the paper's order, by subtable; `ochuman` is the whole method.
ABLATIONS: dict[str, tuple[str, ...]] = {
    "components": ("ochuman_spm", "ochuman_ppg", "ochuman_ppg_pf", "ochuman_ppg_pr", "ochuman"),
    "partitions": (
        "ochuman_keypoint", "ochuman_spm", "ochuman_head", "ochuman_part_small", "ochuman_ppg",
    ),
    "graphs": ("ochuman_no_graph", "ochuman_static_graph", "ochuman"),
    "fusion of another system's poses": ("ochuman_spm", "ochuman_spm_pf"),
}  # fmt: skip


class Size(NamedTuple):
    """Of a network, as a paper counts it."""

    parameters: float  # millions
    multiply_adds: float  # billions, one image of 512 x 512


class System(NamedTuple):
    """A line of PINet's Table 3, or a system that the paper compares with elsewhere.

    Attributes:
        config: the experiment.
        paper: what the table states; None where it does not name the system.
    """

    config: str
    paper: Size | None = None


SYSTEMS: dict[str, System] = {
    "SPM": System("spm_coco", Size(29.3, 41.8)),
    "AE": System("ae_coco"),
    "HigherHRNet": System("higher_hrnet_coco", Size(28.6, 47.7)),
    "DEKR": System("dekr_coco", Size(29.6, 45.4)),
    "PINet": System("coco", Size(29.4, 42.4)),
    "CID": System("cid_coco"),
    "SimpleBaseline": System("simple_baseline_coco"),
    "HRNet, top-down": System("topdown_hrnet_coco"),
}
