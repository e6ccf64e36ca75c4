"""What a network is made of: small frozen dataclasses, one per module."""

from __future__ import annotations

import dataclasses

from pinet_jax.models import graphs
from pinet_jax.skeletons import COCO_17, Partition, Skeleton


@dataclasses.dataclass(frozen=True)
class HRNetConfig:
    """Widths and depths of the backbone; as it stands, HRNet-W32."""

    stem_width: int = 64  # channels of the two convolutions at 1/2 and 1/4
    bottleneck_width: int = 64  # layer1 puts out four times as many channels
    bottlenecks: int = 4  # blocks of layer1
    width: int = 32  # channels of the branch at 1/4; every lower branch has twice as many
    modules: tuple[int, ...] = (1, 4, 3)  # of stage 2, 3, ...; each stage adds a branch
    blocks: int = 4  # basic blocks of every branch of a module

    @property
    def branch_widths(self) -> tuple[int, ...]:
        """Channels of the last stage's branches."""
        return tuple(self.width * 2**i for i in range(len(self.modules) + 1))

    @property
    def features(self) -> int:
        """Channels of the output, all branches side by side (480 for W32)."""
        return sum(self.branch_widths)


W32 = HRNetConfig()
W48 = HRNetConfig(width=48)
MICRO = HRNetConfig(
    stem_width=8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1, 1, 1), blocks=1
)


@dataclasses.dataclass(frozen=True)
class BatchNormConfig:
    """How statistics are taken in training; as it stands, over the whole batch of all devices."""

    # Images that share their statistics; the batch is a multiple of it. The reference's are those
    # of one GPU: 10. Running statistics take the groups' mean.
    group_size: int | None = None
    unbiased_running_variance: bool = False  # torch's, n - 1 in the denominator


@dataclasses.dataclass(frozen=True)
class RefinementConfig:
    """Pose refinement (section 3.2 of the paper)."""

    graph: graphs.Graph = graphs.dynamic  # the adjacency: a function of `graphs`, or your own
    blocks: int = 3  # L, residual blocks of two graph convolutions; 2 for COCO
    # The released code normalises coordinates corner-aligned and samples half-pixel; False reads
    # the features at the points themselves.
    released_sampling: bool = True


@dataclasses.dataclass(frozen=True)
class PINetConfig:
    """The whole network; as it stands, the paper's for OCHuman."""

    skeleton: Skeleton = COCO_17
    partition: str = "part-large"  # one of the skeleton's partitions
    backbone: HRNetConfig = W32
    refinement: RefinementConfig | None = RefinementConfig()  # None: pose generation alone

    @property
    def parts(self) -> Partition:
        """The parts that vote for poses."""
        return self.skeleton.partition(self.partition)
