"""DEKR, HRNet-W32 and W48: whole poses from offsets at centres (Geng et al., CVPR 2021).

The recipes are PINet's. Figures of COCO and CrowdPose are those that the released code states, with
the flip test and with rescoring; those of OCHuman are PINet's Table 1d. Its authors trained on four
GPUs (W32) or eight (W48), and took batch statistics a GPU: `--training.batch-norm.group-size 10`
(5). A training image costs about 0.27 TFLOP, of W48 at 640 pixels 0.85.

    pinet-jax train --config dekr_coco --workdir runs/dekr_coco \\
        --init-backbone hrnet_w32-36af842e.pth

and likewise `dekr_crowdpose`, `dekr_ochuman`, and `dekr_coco_w48` and `dekr_crowdpose_w48` from
`hrnetv2_w48_imagenet_pretrained.pth`. `dekr_ochuman_pf` tests with pose fusion in place of DEKR's
own suppression. At several scales, add `--inference.scales 0.5 1 2 --inference.coincidence 0.15`.

The network that scores poses is a file of its own. The `_rescored` experiments have it, too:

    pinet-jax convert pose_dekr_hrnetw32_coco.pth --also model_rescore_coco_kpt.pth \\
        --config dekr_coco_rescored --out dekr_coco

`pinet-jax rescore` trains one for a DEKR of your own (docs/training.md).
"""

from __future__ import annotations

import dataclasses

from data_pipelines.config import DataConfig
from experiments.configs import coco, crowdpose, ochuman
from experiments.configs.base import ExperimentConfig, PaperResult
from experiments.configs.paper_rows import Change, Row
from pinet_jax.methods.dekr import DEKR, DEKRInference
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.hrnet import W48, HRNetConfig
from pinet_jax.networks.rescoring import COCO_RESCORING, CROWDPOSE_RESCORING, RescoringConfig
from pinet_jax.skeletons import CROWDPOSE_14


def _dekr(
    *, fusion: bool = False, large: bool = False, rescoring: RescoringConfig | None = None
) -> Change:
    """DEKR in PINet's place, on every image that has a person, labelled or not."""

    def change(config: ExperimentConfig) -> ExperimentConfig:
        model, inference = config.model, config.inference
        assert isinstance(model, PINet) and isinstance(inference, PINetInference)
        assert isinstance(model.backbone, HRNetConfig) and isinstance(config.data, DataConfig)
        on_crowdpose = model.skeleton is CROWDPOSE_14
        size = 640 if large else config.data.input_size
        dekr = DEKR(
            model.skeleton,
            W48 if large else model.backbone,
            min_center_area=model.min_part_area,
            center_sigma=2 if on_crowdpose else 4,
            rescoring=rescoring,
        )
        return dataclasses.replace(
            config,
            model=dekr,
            data=dataclasses.replace(config.data, input_size=size, min_keypoints=0),
            inference=DEKRInference(
                input_size=size,
                keypoints=7 if on_crowdpose else 8,
                scale_decrease=inference.scale_decrease,
                fusion=fusion,
            ),
        )

    return change


def _coco(change: Change, *percent: float) -> Row:
    names = ("AP", "AP50", "AP75", "AP_area_medium", "AP_area_large")
    figures = dict(zip(names, percent, strict=True))
    where = "val2017, by the released code, rescored"
    return Row(coco.get_config, change, PaperResult.percent(where, **figures))


def _crowdpose(change: Change, *percent: float) -> Row:
    figures = dict(zip(("AP", "AP_easy", "AP_medium", "AP_hard"), percent, strict=True))
    where = "CrowdPose test, by the released code, rescored"
    return Row(crowdpose.get_config, change, PaperResult.percent(where, **figures))


def _ochuman(change: Change, ap: float) -> Row:
    return Row(ochuman.get_config, change, PaperResult.percent("Table 1d", AP=ap))


_COCO = (68.0, 86.7, 74.5, 62.1, 77.7)
_COCO_W48 = (71.0, 88.3, 77.4, 66.7, 78.5)
_CROWDPOSE = (65.7, 73.0, 66.4, 57.5)
_CROWDPOSE_W48 = (67.3, 74.6, 68.1, 58.7)

ROWS: dict[str, Row] = {
    "dekr_coco": _coco(_dekr(), *_COCO),
    "dekr_coco_rescored": _coco(_dekr(rescoring=COCO_RESCORING), *_COCO),
    "dekr_coco_w48": _coco(_dekr(large=True), *_COCO_W48),
    "dekr_coco_w48_rescored": _coco(_dekr(large=True, rescoring=COCO_RESCORING), *_COCO_W48),
    "dekr_crowdpose": _crowdpose(_dekr(), *_CROWDPOSE),
    "dekr_crowdpose_rescored": _crowdpose(_dekr(rescoring=CROWDPOSE_RESCORING), *_CROWDPOSE),
    "dekr_crowdpose_w48": _crowdpose(_dekr(large=True), *_CROWDPOSE_W48),
    "dekr_crowdpose_w48_rescored": _crowdpose(
        _dekr(large=True, rescoring=CROWDPOSE_RESCORING), *_CROWDPOSE_W48
    ),
    "dekr_ochuman": _ochuman(_dekr(), 52.2),
    "dekr_ochuman_pf": _ochuman(_dekr(fusion=True), 53.0),
}
