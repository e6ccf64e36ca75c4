"""A network's config as JSON, as checkpoints carry it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from pinet_jax.errors import InputError
from pinet_jax.models import graphs
from pinet_jax.models.config import HRNetConfig, PINetConfig, RefinementConfig
from pinet_jax.skeletons import Skeleton


def config_to_json(config: PINetConfig) -> dict[str, Any]:
    """A JSON object that `config_from_json` reads back."""
    refinement = config.refinement
    return {
        "skeleton": config.skeleton.to_json(),
        "partition": config.partition,
        "backbone": dataclasses.asdict(config.backbone),
        "refinement": refinement
        and {
            **dataclasses.asdict(refinement),
            "graph": f"{refinement.graph.__module__}:{refinement.graph.__qualname__}",  # type: ignore[attr-defined]
        },
    }


def config_from_json(content: Mapping[str, Any], where: str) -> PINetConfig:
    """Reads a config back.

    Args:
        content: what `config_to_json` made.
        where: what to call it in errors.

    Raises:
        InputError: it is no config, or its graph is a function of the user's own. Such a function
            is never imported by a name that a file holds: the file may be a stranger's.
    """
    try:
        backbone = dict(content["backbone"])
        backbone["modules"] = tuple(backbone["modules"])
        return PINetConfig(
            skeleton=Skeleton.from_json(content["skeleton"]),
            partition=content["partition"],
            backbone=HRNetConfig(**backbone),
            refinement=content["refinement"] and _refinement(content["refinement"], where),
        )
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{where}: its config cannot be read ({error!r})") from error


def _refinement(content: Mapping[str, Any], where: str) -> RefinementConfig:
    module, _, name = content["graph"].partition(":")
    graph = getattr(graphs, name, None)
    if module != graphs.__name__ or getattr(graph, "__module__", None) != module:
        raise InputError(
            f"{where}: was trained with your own graph {content['graph']}; give its --config, too"
        )
    return RefinementConfig(**{**content, "graph": graph})
