"""PyTorch's train step beside ours: timm's HRNet with PINet's heads, in a process of its own.

`accelerator.py` starts it. It times the step as it is, compiles it, and says so; on a line from
outside it times the compiled one. So both compile at once, and neither is timed beside the other.
A message is a line of JSON.

It has less to do than ours: neither targets nor refinement, one squared loss.

Legend for shapes: B images of S x S pixels, maps of h = S / 4 by w = S / 4 positions.
"""

from __future__ import annotations

import json
import queue
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from experiments.benchmarks.yardstick import timm_backbone

# Keypoints, parts, and offsets of every part to every keypoint: CrowdPose's.
_MAPS = 14 + 3 + 2 * 3 * 14


class TorchTraining:
    """The other process, as `accelerator.py` sees it."""

    def __init__(self, network: str, batch: int, size: int, steps: int, compiled: bool) -> None:
        """Starts it; it needs the device for some seconds at once."""
        numbers = [str(int(x)) for x in (batch, size, steps, compiled)]
        self._process = subprocess.Popen(
            [sys.executable, "-m", __name__, network, *numbers],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._messages: queue.Queue[dict[str, float]] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith("{"):  # what else libraries print is not ours
                self._messages.put(json.loads(line))

    def receive(self, timeout: float) -> dict[str, float]:
        """The next message; an empty one where none comes in so many seconds."""
        try:
            return self._messages.get(timeout=max(timeout, 0.1))
        except queue.Empty:
            return {}

    def go_on(self) -> None:
        """Tells it that the device is free."""
        assert self._process.stdin is not None
        print(file=self._process.stdin, flush=True)

    def end(self) -> None:
        """Ends it and frees what it holds of the device."""
        self._process.kill()
        self._process.wait()


def main(network: str, batch: int, size: int, steps: int, compiled: bool) -> None:
    """The other process itself."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.benchmark = True
    model = _pinet(network).to(device, memory_format=torch.channels_last).train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3, fused=True)
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)

    def step_of(module: Callable[[Any], Any]) -> Callable[[], None]:
        def step() -> None:
            optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device, torch.bfloat16):
                loss = module(images)
            loss.backward()
            optimizer.step()

        return step

    def seconds(step: Callable[[], None]) -> float:
        times = []
        for _ in range(3):
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if device == "cuda":
                torch.cuda.synchronize()
            times.append((time.perf_counter() - start) / steps)
        return statistics.median(times)

    plain = step_of(model)
    plain()
    plain()
    _say(eager=seconds(plain))
    if not compiled:
        return
    start = time.perf_counter()
    fast = step_of(torch.compile(model))
    fast()
    fast()
    if device == "cuda":
        torch.cuda.synchronize()
    _say(compiling=time.perf_counter() - start)
    sys.stdin.readline()
    _say(compiled=seconds(fast))


def _pinet(network: str) -> Any:
    """A torch module, images [B, 3, S, S] -> a loss of maps [B, h, w] at a quarter of the size."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Training(nn.Module):
        """Backbone, the heads as one convolution, and a loss."""

        def __init__(self) -> None:
            super().__init__()
            self.backbone = timm_backbone(network)
            self.heads = nn.LazyConv2d(_MAPS, 1)

        def forward(self, images: Any) -> Any:
            """The loss of a batch."""
            branches = self.backbone(images)
            enlarged = [
                functional.interpolate(x, scale_factor=2**i, mode="bilinear") if i else x
                for i, x in enumerate(branches)
            ]
            return self.heads(torch.cat(enlarged, 1)).float().square().mean()

    module = Training().eval()
    with torch.no_grad():
        module(torch.zeros(1, 3, 64, 64))  # the heads learn their width
    return module


def _say(**message: float) -> None:
    print(json.dumps(message), flush=True)


if __name__ == "__main__":
    _, name, *numbers = sys.argv
    images_a_step, side, steps_timed, compiles = map(int, numbers)
    main(name, images_a_step, side, steps_timed, bool(compiles))
