"""The methods there are; each is one file beside this one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from operator import or_
from typing import Any

from pinet_jax.config_json import from_json, to_json
from pinet_jax.errors import InputError
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.methods.cid import CID
from pinet_jax.methods.dekr import DEKR
from pinet_jax.methods.higher_hrnet import HigherHRNet
from pinet_jax.methods.pinet import PINet
from pinet_jax.methods.simple_baseline import SimpleBaseline, TopDownHRNet

METHODS: tuple[type[Method], ...] = (
    PINet,  # the first is meant where a file names none
    SimpleBaseline,
    TopDownHRNet,
    CID,
    DEKR,
    HigherHRNet,
)


def config_to_json(method: Method, inference: InferenceConfig) -> dict[str, Any]:
    """What a checkpoint carries: the method, and how it is to be tested."""
    return {"method": to_json(method), "inference": to_json(inference)}


def config_from_json(
    content: Mapping[str, Any], where: str, method: Method | None = None
) -> tuple[Method, InferenceConfig]:
    """Reads a config back; one written before tests were stored has the method's own test.

    Args:
        content: what `config_to_json` made, or a method's JSON alone.
        where: what to call it in errors.
        method: takes the place of the stored one; needed where its graph is the user's own.

    Raises:
        InputError: it is no config; see `config_json.from_json`.
    """
    if not isinstance(content, Mapping) or not content:
        raise InputError(f"{where}: holds no config")
    if method is None:
        method = from_json(reduce(or_, METHODS), content.get("method", content), where)
    assert method is not None
    if "inference" not in content:
        return method, method.inference_type()
    return method, from_json(method.inference_type, content["inference"], where)
