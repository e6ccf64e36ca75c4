"""The network for photographs: EfficientNet-Lite2 with a pyramid, trained on packs.

The network that comes with the package is this one; `pinet_jax/pretrained/photographs.md` has its
training, log and figures.

    pinet-jax pack --annotations A.json --images D --out train.npz
    pinet-jax train --config photographs --workdir runs/photographs --packed.packs train.npz \
      --packed.weights 1 --init-backbone efficientnet-lite2-9656183e.pth --training.bfloat16
"""

from experiments.configs.base import ExperimentConfig, LoopConfig, PackedConfig
from pinet_jax.methods.pinet import LossConfig, PINet, PINetInference
from pinet_jax.networks.efficientnet import LITE2
from pinet_jax.networks.refinement import RefinementConfig
from pinet_jax.optimizers import OptimizerConfig
from pinet_jax.skeletons import COCO_17
from pinet_jax.training import TrainingConfig


def get_config() -> ExperimentConfig:
    """Frames of 320 x 320 pixels, half a million of them."""
    return ExperimentConfig(
        model=PINet(
            COCO_17,
            backbone=LITE2,
            refinement=RefinementConfig(blocks=2),
            min_part_area=100.0,  # frames of 320 pixels show small people
            # The paper's factors are for 140 epochs of a large dataset.
            loss=LossConfig(offset_factor=0.3, refinement_factor=0.3, proposals=72),
        ),
        packed=PackedConfig(),
        # Larger than in training, since COCO's people are small, and at half of it too, where large
        # people are as large as in training. Chosen on 300 photographs.
        inference=PINetInference(input_size=384, scales=(0.5, 1.0), area_exponent=0.3),
        training=TrainingConfig(
            batch_size=64,
            epochs=100,
            optimizer=OptimizerConfig(
                method="muon",
                learning_rate=2e-3,
                schedule="cosine",
                warmup_epochs=12.8,  # 1000 steps
                gradient_clip=1.0,
                weight_decay=0.05,
            ),
            ema_decay=0.9995,
        ),
        loop=LoopConfig(save_every=500, evaluate_every=0),
    )
