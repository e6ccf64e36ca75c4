"""PyTorch's HRNet-W32 as `timm` has it: the yardstick of our speed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def timm_backbone(name: str = "hrnet_w32") -> Any:
    """A torch module, images [B, 3, H, W] -> the four branches of an HRNet.

    The same layers as our backbone, without the classifier that `timm` puts on top of them.

    Args:
        name: timm's.

    Raises:
        ImportError: timm, or what it needs, is not installed.
    """
    import timm
    from torch import nn

    class Backbone(nn.Module):
        """The stem and the stages."""

        def __init__(self) -> None:
            super().__init__()
            self.net = timm.create_model(name, pretrained=False)

        def forward(self, x: Any) -> list[Any]:
            """[B, 3, H, W] -> branches at 1/4, 1/8, 1/16 and 1/32."""
            net = self.net
            x = net.act1(net.bn1(net.conv1(x)))
            x = net.act2(net.bn2(net.conv2(x)))
            return net.stages(x)  # layer1 included

    return Backbone()


def timm_forward(batch: int, size: int) -> Callable[[], Any] | None:
    """A call that runs the yardstick's forward pass on a CPU; None where timm is not installed."""
    try:
        import torch

        backbone = timm_backbone().eval()
    except ImportError:
        return None
    images = torch.randn(batch, 3, size, size)

    def forward() -> Any:
        with torch.inference_mode():
            return backbone(images)

    return forward
