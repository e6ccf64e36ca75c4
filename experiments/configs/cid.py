"""CID, HRNet-W32: heatmaps of every person alone (Wang and Zhang, CVPR 2022).

The recipes are PINet's. Figures are those that the released code states, with the flip test at 512
pixels. Its authors trained on two RTX 3090; a training image costs about 0.26 TFLOP. Batch
statistics are taken over the whole batch here, and over 20 images there
(`--training.batch-norm.group-size 20`).

    pinet-jax train --config cid_coco --workdir runs/cid_coco \\
        --init-backbone hrnet_w32-36af842e.pth

and likewise `cid_crowdpose` and `cid_ochuman`. W48 is `--model.backbone.width 48`; no such network
was released. A network trained on COCO is tested on OCHuman with `evaluate --smoothing 11
--oks-threshold 0.7`: AP 45.7 on val, 44.6 on test.
"""

from __future__ import annotations

import dataclasses

from data_pipelines.config import DataConfig
from experiments.configs import coco, crowdpose, ochuman
from experiments.configs.base import ExperimentConfig, PaperResult
from experiments.configs.paper_rows import Change, Row
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.hrnet import HRNetConfig


def _cid(oks_threshold: float = 0.8) -> Change:
    """CID in PINet's place, on every image that has a labelled keypoint."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        assert isinstance(config.model, PINet) and isinstance(config.data, DataConfig)
        assert isinstance(config.model.backbone, HRNetConfig)
        area = config.model.min_part_area
        return dataclasses.replace(
            config,
            model=CID(config.model.skeleton, config.model.backbone, min_center_area=area),
            data=dataclasses.replace(config.data, min_keypoints=1),
            inference=CIDInference(oks_threshold=oks_threshold),
        )

    return change


ROWS: dict[str, Row] = {
    "cid_coco": Row(
        coco.get_config,
        _cid(),
        PaperResult.percent(
            "val2017, by the released code", AP=69.8, AP50=88.5, AP75=76.6, AP_area_medium=64.0,
            AP_area_large=78.9,
        ),
    ),
    "cid_crowdpose": Row(
        crowdpose.get_config,
        _cid(),
        PaperResult.percent(
            "CrowdPose test, by the released code", AP=71.2, AP50=89.8, AP75=76.7, AP_easy=77.9,
            AP_medium=71.9, AP_hard=63.8,
        ),
    ),
    "cid_ochuman": Row(
        ochuman.get_config,
        _cid(oks_threshold=0.7),
        PaperResult.percent(
            "OCHuman test, by the released code", AP=57.7, AP50=75.5, AP75=63.3, AR=75.7
        ),
    ),
}  # fmt: skip
