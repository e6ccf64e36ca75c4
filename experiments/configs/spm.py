"""SPM*, PINet's baseline, HRNet-W32: one part of all keypoints, no refinement, no fusion.

It is the released PINet code with other values, not the SPM of Nie et al. (ICCV 2019), from which
it has the idea alone: every keypoint by an offset from the person's centre. Offsets are trained in
windows of 4 x 4 positions and centres are Gaussians of sigma 2, as the released configs have it;
the code's own defaults are 8 x 8 and 4 (`--model.offset-radius 4 --model.part-sigma 4`). Which of
them the paper's row was trained with is not known.

Its authors trained on two GPUs; a training image costs about 0.25 TFLOP.

    pinet-jax train --config spm_ochuman --workdir runs/spm_ochuman \\
        --init-backbone hrnet_w32-36af842e.pth

and likewise `spm_crowdpose` and `spm_coco`, for which no published figure is known. With pose
fusion, `evaluate --fusion`, the paper has AP 48.1 on OCHuman.
"""

from __future__ import annotations

import dataclasses

from experiments.configs import coco, crowdpose, ochuman
from experiments.configs.base import ExperimentConfig, PaperResult
from experiments.configs.paper_rows import Row
from pinet_jax.methods.pinet import PINet, PINetInference


def _baseline(config: ExperimentConfig) -> ExperimentConfig:
    """PINet without its parts."""
    assert isinstance(config.model, PINet) and isinstance(config.inference, PINetInference)
    model = dataclasses.replace(config.model, partition="center", refinement=None)
    inference = dataclasses.replace(config.inference, fusion=False)
    return dataclasses.replace(config, model=model, inference=inference)


ROWS: dict[str, Row] = {
    "spm_ochuman": Row(
        ochuman.get_config,
        _baseline,
        PaperResult.percent("Table 1a, 1b, 1d", AP=47.6, AP50=67.5, AP75=53.2),
    ),
    "spm_crowdpose": Row(crowdpose.get_config, _baseline),
    "spm_coco": Row(coco.get_config, _baseline),
}
