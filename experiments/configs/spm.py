"""SPM*, PINet's baseline: one part of all keypoints, no refinement, no fusion.

It is the released PINet code with other values, not the SPM of Nie et al. (ICCV 2019), from which
it has the idea alone: every keypoint by an offset from the person's centre. Offsets are trained in
windows of 4 x 4 positions and centres are Gaussians of sigma 2, as the released configs have it;
the code's own defaults are 8 x 8 and 4 (`--model.offset-radius 4 --model.part-sigma 4`). Which of
them the paper's row was trained with is not known.

Pose fusion is `--inference.fusion True`. A training image of 512 x 512 pixels costs about
0.25 TFLOP; the authors trained on two GPUs.

    pinet-jax train --config spm_ochuman --workdir runs/spm_ochuman \\
        --init-backbone hrnet_w32-36af842e.pth
"""

import dataclasses

from experiments.configs import coco as pinet_coco
from experiments.configs import crowdpose as pinet_crowdpose
from experiments.configs import ochuman as pinet_ochuman
from experiments.configs.base import ExperimentConfig


def ochuman() -> ExperimentConfig:
    """OCHuman, val to test.

    Paper: AP 47.6, AP50 67.5, AP75 53.2; 48.1 with fusion (Table 1).

        pinet-jax train --config spm_ochuman --workdir runs/spm_ochuman \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return _baseline(pinet_ochuman.get_config())


def crowdpose() -> ExperimentConfig:
    """CrowdPose, trainval to test. No published figure of it is known.

        pinet-jax train --config spm_crowdpose --workdir runs/spm_crowdpose \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return _baseline(pinet_crowdpose.get_config())


def coco() -> ExperimentConfig:
    """COCO keypoints 2017, train2017 to val2017. No published figure of it is known.

        pinet-jax train --config spm_coco --workdir runs/spm_coco \\
            --init-backbone hrnet_w32-36af842e.pth
    """
    return _baseline(pinet_coco.get_config())


def _baseline(config: ExperimentConfig) -> ExperimentConfig:
    return dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, partition="center", refinement=None),
        inference=dataclasses.replace(config.inference, fusion=False),
    )


EXPERIMENTS = {"spm_coco": coco, "spm_crowdpose": crowdpose, "spm_ochuman": ochuman}
