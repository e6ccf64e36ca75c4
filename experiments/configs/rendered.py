"""The paper's systems at one small width on rendered crowds, with one recipe and one budget.

Network, crowds and recipe are those of `synthetic_shallow`: a backbone of half of W32's width, 192
x 192 pixels, Muon. What a method has of its own stays as it was published, except what
`synthetic_shallow` changes for PINet, too: people are small, and offsets weigh ten times as much.
Top-down HRNet sees as many crops as the others see images, of half the published height and width,
and is told where people are: its test's boxes are the annotations' own.

    pinet-jax comparison --out runs/comparison

trains and tests them all; one alone:

    pinet-jax train --config rendered_dekr --workdir runs/rendered_dekr
"""

from __future__ import annotations

import dataclasses

from data_pipelines.config import DataConfig, PersonDataConfig
from experiments.configs import synthetic_shallow
from experiments.configs.base import ExperimentConfig
from experiments.configs.paper_rows import Row
from pinet_jax.methods.base import InferenceConfig, Method
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.methods.dekr import DEKR, DEKRInference
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.methods.simple_baseline import TopDownHRNet, TopDownInference
from pinet_jax.networks.hrnet import HRNetConfig

_BASE = synthetic_shallow.get_config()
assert isinstance(_BASE.model, PINet) and isinstance(_BASE.inference, PINetInference)
_SIZE, _AREA = _BASE.inference.input_size, _BASE.model.min_part_area
_BACKBONE = _BASE.model.backbone
assert isinstance(_BACKBONE, HRNetConfig)
_FINEST = dataclasses.replace(_BACKBONE, concatenated=False)


def _system(
    model: Method,
    inference: InferenceConfig,
    data: DataConfig | PersonDataConfig = _BASE.data,
) -> Row:
    """A row of no table that is published."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        return dataclasses.replace(config, model=model, inference=inference, data=data)

    return Row(synthetic_shallow.get_config, change)


ROWS: dict[str, Row] = {
    "rendered_pinet": _system(_BASE.model, _BASE.inference),
    "rendered_spm": _system(
        dataclasses.replace(_BASE.model, partition="center", refinement=None),
        dataclasses.replace(_BASE.inference, fusion=False),
    ),
    "rendered_dekr": _system(
        DEKR(
            backbone=_BACKBONE,
            min_center_area=_AREA,
            offset_factor=_BASE.model.loss.offset_factor,
        ),
        DEKRInference(input_size=_SIZE),
    ),
    "rendered_higher_hrnet": _system(
        HigherHRNet(backbone=_FINEST), HigherHRNetInference(input_size=_SIZE)
    ),
    "rendered_ae": _system(
        HigherHRNet(backbone=_FINEST, doublings=0), HigherHRNetInference(input_size=_SIZE)
    ),
    "rendered_cid": _system(
        CID(backbone=_BACKBONE, min_center_area=_AREA), CIDInference(input_size=_SIZE)
    ),
    "rendered_topdown_hrnet": _system(
        TopDownHRNet(backbone=_FINEST, crop_shape=(128, 96), sigma=1),
        TopDownInference(),
        PersonDataConfig(),
    ),
}

# By the system's name: its row here, and its experiments on photographs, CrowdPose and OCHuman.
COMPARED: dict[str, tuple[str, tuple[str, str]]] = {
    "PINet": ("rendered_pinet", ("crowdpose", "ochuman")),
    "SPM": ("rendered_spm", ("spm_crowdpose", "spm_ochuman")),
    "DEKR": ("rendered_dekr", ("dekr_crowdpose", "dekr_ochuman")),
    "HigherHRNet": ("rendered_higher_hrnet", ("higher_hrnet_crowdpose", "higher_hrnet_ochuman")),
    "AE": ("rendered_ae", ("ae_crowdpose", "ae_ochuman")),
    "CID": ("rendered_cid", ("cid_crowdpose", "cid_ochuman")),
    "HRNet, top-down, annotated boxes": (
        "rendered_topdown_hrnet",
        ("topdown_hrnet_crowdpose", "topdown_hrnet_ochuman"),
    ),
}
