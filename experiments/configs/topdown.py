"""Top-down methods: SimpleBaseline (ResNet-50) and HRNet-W32, 256 x 192 pixels a person.

| experiment | published, with flip test | boxes |
|---|---|---|
| `simple_baseline_coco` | val2017: AP 70.4, AP50 88.6, AP75 78.3, AR 76.3 | a detector's |
| `topdown_hrnet_coco` | val2017: AP 74.4, AP50 90.5, AP75 81.9, AR 79.8 | a detector's |
| `simple_baseline_crowdpose` | test, by CrowdPose's authors: AP 60.8, AP50 81.4 | a detector's |
| `topdown_hrnet_crowdpose` | test, by mmpose: AP 67.5, AP50 82.5, AP75 72.9 | YOLOv3's |
| `simple_baseline_ochuman`, `topdown_hrnet_ochuman` | none by the released code | |

The released code knows COCO alone. What it does not say is mmpose's for CrowdPose (half bodies from
7 labelled keypoints on), and PINet's setting for OCHuman (trained on its val, tested on its test).
The test's boxes are the annotations' own unless `--boxes` names a file: about 2 AP better on COCO
than with a detector's, and not to be compared with bottom-up methods.

Cost: a crop is 5.4 G (ResNet-50) or 7.6 G (W32) multiply-adds, twice that with the mirrored crop.
COCO's 150,000 persons are 1,170 steps an epoch.

    pinet-jax train --config simple_baseline_coco --workdir runs/simple_baseline_coco \\
        --init-backbone resnet50-19c8e357.pth
    pinet-jax train --config topdown_hrnet_crowdpose --workdir runs/topdown_hrnet_crowdpose \\
        --init-backbone hrnet_w32-36af842e.pth

Larger ones: `--model.backbone.bottlenecks 3 4 23 3` (ResNet-101), `3 8 36 3` (ResNet-152),
`--model.backbone.width 48` (W48), and for crops of 384 x 288 pixels
`--model.crop-shape 384 288 --model.sigma 3`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from data_pipelines.config import PersonAugmentationConfig, PersonDataConfig
from experiments.configs.base import ExperimentConfig, LoopConfig, PaperResult
from pinet_jax.methods.simple_baseline import (
    SimpleBaseline,
    TopDown,
    TopDownHRNet,
    TopDownInference,
)
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import COCO_17, CROWDPOSE_14, Skeleton
from pinet_jax.training import TrainingConfig

_RESNET_AUGMENTATION = PersonAugmentationConfig(half_body_probability=0, scale=0.3, rotation_deg=40)
_HRNET_AUGMENTATION = PersonAugmentationConfig()
_COCO = PersonDataConfig("coco_keypoints", train_split="train", eval_split="val")
_CROWDPOSE = PersonDataConfig("crowdpose", train_split="trainval", eval_split="test")
_OCHUMAN = PersonDataConfig("ochuman", train_split="val", eval_split="test")


def _experiment(
    model: TopDown,
    data: PersonDataConfig,
    augmentation: PersonAugmentationConfig,
    optimizer: OptimizerConfig,
    epochs: float,
    paper: PaperResult | None,
) -> ExperimentConfig:
    """The released recipe: Adam from 1e-3, 128 persons a step on four GPUs of 32."""
    if model.skeleton == CROWDPOSE_14:
        augmentation = dataclasses.replace(augmentation, half_body_keypoints=7)
    return ExperimentConfig(
        model=model,
        data=dataclasses.replace(data, augmentation=augmentation),
        inference=TopDownInference(),
        training=TrainingConfig(batch_size=128, epochs=epochs, optimizer=optimizer),
        loop=LoopConfig(batch_size=32, save_every=1000),
        paper=paper,
    )


def _simple_baseline(
    skeleton: Skeleton, data: PersonDataConfig, paper: PaperResult | None = None
) -> Callable[[], ExperimentConfig]:
    optimizer = OptimizerConfig(drops=(90, 120))
    model = SimpleBaseline(skeleton)
    return partial(_experiment, model, data, _RESNET_AUGMENTATION, optimizer, 140, paper)


def _hrnet(
    skeleton: Skeleton, data: PersonDataConfig, paper: PaperResult | None = None
) -> Callable[[], ExperimentConfig]:
    optimizer = OptimizerConfig(drops=(170, 200))
    model = TopDownHRNet(skeleton)
    return partial(_experiment, model, data, _HRNET_AUGMENTATION, optimizer, 210, paper)


_detected = partial(PaperResult.percent, "val2017, a detector's boxes")

EXPERIMENTS: dict[str, Callable[[], ExperimentConfig]] = {
    "simple_baseline_coco": _simple_baseline(
        COCO_17, _COCO, _detected(AP=70.4, AP50=88.6, AP75=78.3, AR=76.3)
    ),
    "simple_baseline_crowdpose": _simple_baseline(
        CROWDPOSE_14,
        _CROWDPOSE,
        PaperResult.percent("the CrowdPose paper's", AP=60.8, AP50=81.4, AP75=65.7),
    ),
    "simple_baseline_ochuman": _simple_baseline(COCO_17, _OCHUMAN),
    "topdown_hrnet_coco": _hrnet(COCO_17, _COCO, _detected(AP=74.4, AP50=90.5, AP75=81.9, AR=79.8)),
    "topdown_hrnet_crowdpose": _hrnet(
        CROWDPOSE_14,
        _CROWDPOSE,
        PaperResult.percent("mmpose's, YOLOv3's boxes", AP=67.5, AP50=82.5, AP75=72.9),
    ),
    "topdown_hrnet_ochuman": _hrnet(COCO_17, _OCHUMAN),
}
