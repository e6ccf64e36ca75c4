"""HigherHRNet and AE, HRNet-W32: keypoints of everybody, grouped by tags (Cheng et al., 2020).

| experiment | published, one scale and flip test, 512 pixels |
|---|---|
| `higher_hrnet_coco` | val2017: AP 67.1, AP50 86.2, AP75 73.0 |
| `higher_hrnet_crowdpose` | test: AP 65.9, easy 73.3, medium 66.5, hard 57.9 |
| `ae_coco` | val2017, by the paper: AP 64.4 |
| `ae_crowdpose`, `higher_hrnet_ochuman`, `ae_ochuman` | none by the released code |

With the scales 0.5, 1 and 2 (`--inference.scales 0.5 1 2`) HigherHRNet has AP 69.9 on val2017 and
67.6 on CrowdPose. AE is the network without doublings, "bottom-up HRNet" in the released code,
which has no config of it: its recipe is HigherHRNet's. On OCHuman the setting is PINet's: trained
on its val, tested on its test.

Cost: an image of 512 x 512 pixels is 46.2 G multiply-adds (HigherHRNet) or 40.8 G (AE), twice that
with the mirrored one. Its authors trained with 48 images a step on four GPUs of 12.

    pinet-jax train --config higher_hrnet_coco --workdir runs/higher_hrnet_coco \\
        --init-backbone hrnet_w32-36af842e.pth

and likewise the others. W48 is `--model.backbone.width 48` with `hrnet_w48-8ef0771d.pth`; the paper
trains it with 640 pixels and 40 images: `--data.input-size 640 --training.batch-size 40`.
"""

from __future__ import annotations

import dataclasses

from data_pipelines.config import DataConfig
from experiments.configs import coco, crowdpose, ochuman
from experiments.configs.base import ExperimentConfig, PaperResult
from experiments.configs.paper_rows import Change, Row
from pinet_jax.methods.higher_hrnet import HigherHRNet, HigherHRNetInference
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.training import TrainingConfig


def _higher_hrnet(doublings: int = 1) -> Change:
    """HigherHRNet in PINet's place, on images with a labelled keypoint; the recipe is its own."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        assert isinstance(config.data, DataConfig)
        return dataclasses.replace(
            config,
            model=HigherHRNet(config.model.skeleton, doublings=doublings),
            data=dataclasses.replace(config.data, min_keypoints=1, fine_valid_mask=doublings > 0),
            inference=HigherHRNetInference(),
            training=TrainingConfig(
                batch_size=48, epochs=300, optimizer=OptimizerConfig(drops=(200, 260))
            ),
        )

    return change


_AE = _higher_hrnet(doublings=0)

ROWS: dict[str, Row] = {
    "higher_hrnet_coco": Row(
        coco.get_config,
        _higher_hrnet(),
        PaperResult.percent(
            "val2017, by the released code", AP=67.1, AP50=86.2, AP75=73.0, AP_area_medium=61.5,
            AP_area_large=76.1,
        ),
    ),
    "higher_hrnet_crowdpose": Row(
        crowdpose.get_config,
        _higher_hrnet(),
        PaperResult.percent(
            "CrowdPose test, by the released code", AP=65.9, AP50=86.4, AP75=70.6, AP_easy=73.3,
            AP_medium=66.5, AP_hard=57.9,
        ),
    ),
    "higher_hrnet_ochuman": Row(ochuman.get_config, _higher_hrnet()),
    "ae_coco": Row(coco.get_config, _AE, PaperResult.percent("val2017, HigherHRNet's", AP=64.4)),
    "ae_crowdpose": Row(crowdpose.get_config, _AE),
    "ae_ochuman": Row(ochuman.get_config, _AE),
}  # fmt: skip
