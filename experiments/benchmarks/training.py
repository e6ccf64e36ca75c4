"""`python -m experiments.benchmarks.training`: speed, memory, compilation of the train step.

Needs the extra `benchmark` (timm and torch) for the yardstick: HRNet-W32 in PyTorch.

Legend for shapes: B images of S x S pixels.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks.timing import time_in_turns
from experiments.benchmarks.yardstick import timm_backbone
from pinet_jax.frames import STRIDE
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet
from pinet_jax.networks.layers import Compute
from pinet_jax.runtime import (
    compiler_options,
    keep_freed_memory,
    make_mesh,
    replicated,
    split_by_image,
)
from pinet_jax.training import (
    Training,
    TrainingConfig,
    compile_train_step,
)

_PEOPLE = 30


def main(
    *,
    size: int = 512,
    batch_sizes: tuple[int, ...] = (20, 40),
    bfloat16: bool = False,
    remat: bool = False,
    repeats: int = 10,
    memory_only: bool = False,
    yardstick: bool = True,
) -> None:
    """Prints images/s, memory and seconds of compilation of W32's train step, and of PyTorch's.

    Args:
        size: side of the images, pixels.
        batch_sizes: to measure, one after the other.
        bfloat16: compute of the networks.
        remat: compute the backbone's inner results twice.
        repeats: timed steps; the median counts.
        memory_only: only compile, also for more than this machine could run.
        yardstick: also time the backbone, forward and backward, in JAX and in timm.
    """
    keep_freed_memory()  # as the command `train` does
    for batch_size in batch_sizes:
        config = TrainingConfig(batch_size=batch_size, bfloat16=bfloat16, remat=remat)
        print(f"train step, W32, {size} x {size}, batch {batch_size}: ", end="", flush=True)
        print(step_figures(config, size, 0 if memory_only else repeats), flush=True)
        if yardstick and not memory_only:
            print(
                f"  backbone: {backbone_figures(batch_size, size, bfloat16, repeats)}", flush=True
            )


def step_figures(config: TrainingConfig, size: int, repeats: int) -> str:
    """Compiles the whole step, and takes it `repeats` times."""
    training, mesh = Training.make(PINet(), config, steps_per_epoch=1000), make_mesh()
    shapes = jax.eval_shape(training.init_state, abstract_variables(PINet()))
    batch = training_batch(config.batch_size, size)
    start = time.perf_counter()
    step: Any = compile_train_step(training, mesh)  # a jitted function
    program = step.lower(shapes, batch).compile()
    words = [f"compiled in {time.perf_counter() - start:.0f} s", _memory(program)]
    if repeats:
        state = jax.device_put(training.init_state(init_variables(PINet())), replicated(mesh))
        sent = jax.device_put(batch, split_by_image(mesh))
        times = []
        for _ in range(repeats + 2):
            start = time.perf_counter()
            state, metrics = program(state, sent)
            jax.block_until_ready(metrics)
            times.append(time.perf_counter() - start)
        seconds = statistics.median(times[2:])
        words.append(f"{seconds:.3f} s a step, {config.batch_size / seconds:.2f} images/s")
    return ", ".join(words)


def backbone_figures(batch_size: int, size: int, bfloat16: bool, repeats: int) -> str:
    """Forward and backward of HRNet-W32 in training mode, here and in timm, turn about."""
    ours, compile_seconds = _ours(batch_size, size, bfloat16)
    theirs = _timm(batch_size, size, bfloat16)
    seconds = time_in_turns({"jax": ours, "timm": theirs}, repeats)
    return (
        f"JAX {seconds['jax'].median:.3f} s (compiled in {compile_seconds:.0f} s), "
        f"timm {seconds['timm'].median:.3f} s"
    )


def _ours(batch_size: int, size: int, bfloat16: bool) -> tuple[Callable[[], Any], float]:
    method = PINet(refinement=None)
    dtype = jnp.bfloat16 if bfloat16 else jnp.float32
    network = method.network(Compute(dtype=dtype, train=True))
    variables = init_variables(method)

    def loss(params: Any, statistics: Any, images: jax.Array) -> Any:
        outputs, new = network.apply(
            {"params": params, "batch_stats": statistics}, images, mutable=["batch_stats"]
        )
        return outputs.features.astype(jnp.float32).mean(), new

    inputs = jax.device_put(
        (variables["params"], variables["batch_stats"], np.zeros((batch_size, size, size, 3), "f4"))
    )
    start = time.perf_counter()
    options = compiler_options(jax.default_backend())
    gradient = jax.jit(jax.grad(loss, has_aux=True), compiler_options=options)
    program = gradient.lower(*inputs).compile()
    return lambda: program(*inputs), time.perf_counter() - start


def _timm(batch_size: int, size: int, bfloat16: bool) -> Callable[[], Any]:
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = timm_backbone().to(device, memory_format=torch.channels_last).train()
    if device == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
        model = torch.compile(model)
    images = torch.zeros(batch_size, 3, size, size, device=device)
    images = images.to(memory_format=torch.channels_last)

    def run() -> None:
        model.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = sum(features.float().mean() for features in model(images))
        loss.backward()
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def training_batch(count: int, size: int, num_keypoints: int = 17) -> dict[str, np.ndarray]:
    """Noise with 30 people an image, as `Method.losses` takes it."""
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, size, (count, _PEOPLE, num_keypoints, 3)).astype(np.float32)
    return {
        "image": rng.integers(0, 256, (count, size, size, 3), np.uint8),
        "keypoints": keypoints,
        "area": rng.uniform(2000, 9000, (count, _PEOPLE)).astype(np.float32),
        "corners": rng.uniform(0, size, (count, _PEOPLE, 4, 2)).astype(np.float32),
        "valid_mask": np.ones((count, size // STRIDE, size // STRIDE), np.uint8),
    }


def _memory(program: Any) -> str:
    analysis = program.memory_analysis()
    held = (analysis.argument_size_in_bytes + analysis.temp_size_in_bytes) / 2**30
    return f"{held:.2f} GiB ({analysis.temp_size_in_bytes / 2**30:.2f} of them temporary)"


if __name__ == "__main__":
    import tyro  # here, so that the rest can be imported where it is not installed

    tyro.cli(main)
