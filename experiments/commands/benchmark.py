"""`pinet-jax benchmark`: the speed of the test procedure, stage by stage."""

from __future__ import annotations

import platform
from pathlib import Path

import jax

from experiments.benchmarks.inference import FUSION_BATCH, measure_fusion, measure_inference
from experiments.configs import load_config
from pinet_jax.errors import UsageError
from pinet_jax.methods.pinet import PINet


def main(
    *,
    config: str = "ochuman",
    size: int = 512,
    batch: int = 1,
    rounds: int = 7,
    records: Path | None = None,
) -> None:
    """Times the flip test, stage by stage, beside PyTorch's HRNet where `timm` is installed.

    All times are taken in one process, in turns. Let the machine be quiet.

    Example: pinet-jax benchmark

    Args:
        config: the network: ochuman, crowdpose, coco, or a Python file of your own.
        size: of the square images, in pixels.
        batch: images at once.
        rounds: of which the median is shown, and the best.
        records: a folder that `prepare coco` wrote; times the input pipeline of its train split
            on one core, too.
    """
    method = load_config(config).model
    if not isinstance(method, PINet):
        raise UsageError(f"--config {config}: only PINet's parts are timed")
    print(f"{jax.devices()[0].device_kind} on {platform.node() or 'this machine'}, {config}")
    print(f"{'':<48}{'median':>10}{'best':>10}")
    for name, seconds in measure_inference(method, size=size, batch=batch, rounds=rounds).items():
        print(f"{name:<48}{1e3 * seconds.median:>7.1f} ms{1e3 * seconds.best:>7.1f} ms")
    seconds = measure_fusion(method)
    name = f"fusion of 90 candidates, per image of {FUSION_BATCH}"
    print(f"{name:<48}{1e3 * seconds.median:>7.2f} ms{1e3 * seconds.best:>7.2f} ms")
    if records is not None:
        _print_data(records)


def _print_data(folder: Path) -> None:
    # Here, so that the rest runs where TensorFlow is not installed.
    from data_pipelines.config import DataConfig
    from data_pipelines.records import open_split
    from experiments.benchmarks.data import measure_data

    data = measure_data(open_split("coco_keypoints", "train", folder), DataConfig())
    print(f"input pipeline, one core, 512 x 512: {data.images_per_second:.0f} images/s")
    print(f"  OpenCV's decoding and one warp alone: {data.opencv_images_per_second:.0f} images/s")
    print(f"  to the device: {data.bytes_per_image / 1e6:.2f} MB an image")
