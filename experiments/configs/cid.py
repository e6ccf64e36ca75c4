"""CID, HRNet-W32: one network's heatmaps of every person alone (Wang and Zhang, CVPR 2022).

Figures are those of the released code, with the flip test at 512 pixels. Its authors trained on two
RTX 3090; a training image of 512 x 512 pixels costs about 0.26 TFLOP. Batch statistics are taken
over the whole batch here, there over 20 images (`--training.batch-norm.group-size 20`).

    pinet-jax train --config cid_coco --workdir runs/cid_coco \\
        --init-backbone hrnet_w32-36af842e.pth

W48 is `--model.backbone.width 48`; no such network was released.
"""

from data_pipelines.config import DataConfig
from experiments.configs.base import ExperimentConfig, LoopConfig
from pinet_jax.methods.cid import CID, CIDInference
from pinet_jax.skeletons import CROWDPOSE_14
from pinet_jax.training import OptimizerConfig, TrainingConfig


def coco() -> ExperimentConfig:
    """COCO keypoints 2017, train2017 to val2017.

    Paper: AP 69.8, AP50 88.5, AP75 76.6, medium 64.0, large 78.9; AP 69.1 on test-dev2017.

        pinet-jax train --config cid_coco --workdir runs/cid_coco \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return ExperimentConfig(
        model=CID(),
        data=DataConfig("coco_keypoints", train_split="train", eval_split="val"),
        inference=CIDInference(),
        training=TrainingConfig(
            batch_size=40, epochs=140, optimizer=OptimizerConfig(drops=(90, 120))
        ),
        loop=LoopConfig(batch_size=8, save_every=2000),
    )


def crowdpose() -> ExperimentConfig:
    """CrowdPose, trainval to test.

    Paper: AP 71.2, AP50 89.8, AP75 76.7, easy 77.9, medium 71.9, hard 63.8.

        pinet-jax train --config cid_crowdpose --workdir runs/cid_crowdpose \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return ExperimentConfig(
        model=CID(CROWDPOSE_14, min_center_area=0),  # small people have centres here
        data=DataConfig("crowdpose", train_split="trainval", eval_split="test"),
        inference=CIDInference(),
        training=TrainingConfig(
            batch_size=40, epochs=300, optimizer=OptimizerConfig(drops=(200, 260))
        ),
        loop=LoopConfig(batch_size=8),
    )


def ochuman() -> ExperimentConfig:
    """OCHuman, val to test.

    Paper: AP 57.7, AP50 75.5, AP75 63.3, AR 75.7. A network trained on COCO, which is tested with
    `--inference.smoothing 11`, has 44.6 on test and 45.7 on val.

        pinet-jax train --config cid_ochuman --workdir runs/cid_ochuman \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return ExperimentConfig(
        model=CID(),
        data=DataConfig("ochuman", train_split="val", eval_split="test"),
        inference=CIDInference(oks_threshold=0.7),
        training=TrainingConfig(
            batch_size=20, epochs=140, optimizer=OptimizerConfig(drops=(90, 120))
        ),
        loop=LoopConfig(batch_size=8),
    )


EXPERIMENTS = {"cid_coco": coco, "cid_crowdpose": crowdpose, "cid_ochuman": ochuman}
