"""What `accelerator.py` compiles and finds out: golden figures, training, prediction, stages.

Legend for shapes: B images of S x S pixels, K keypoints, maps of h x w positions.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from experiments.benchmarks import golden
from experiments.benchmarks.inference import busy_variables, fusion_of_crowds
from experiments.benchmarks.slow_grouping import crowd
from experiments.benchmarks.timing import time_in_turns
from experiments.benchmarks.training import training_batch
from pinet_jax.frames import FrameBatch
from pinet_jax.grouping import GroupingConfig, find_candidates, group_candidates
from pinet_jax.inference import infer
from pinet_jax.interop.state_dict import from_state_dict
from pinet_jax.methods.base import abstract_variables, init_variables
from pinet_jax.methods.pinet import PINet, PINetInference
from pinet_jax.networks.folding import fold_batch_norm
from pinet_jax.networks.hrnet import W32, HRNetConfig
from pinet_jax.networks.initializers import Variables
from pinet_jax.networks.inputs import normalize
from pinet_jax.runtime import compiler_options, make_mesh, replicated, split_by_image
from pinet_jax.skeletons import CROWDPOSE_14
from pinet_jax.training import Training, TrainingConfig, compile_train_step

# Of COCO's keypoints, as HigherHRNet groups them: head, trunk, arms, legs.
_ORDER = (0, 1, 2, 3, 4, 5, 6, 11, 12, 7, 8, 9, 10, 13, 14, 15, 16)
_STAGE_BATCH = 8  # images of which fusion, targets and grouping are timed


@dataclasses.dataclass(frozen=True)
class Scale:
    """How large everything is."""

    image: int = 512  # pixels
    train: tuple[int, ...] = (32, 16)  # batches; PyTorch has the first
    predict: tuple[int, ...] = (8, 1, 32)
    backbone: HRNetConfig = W32
    timm: str = "hrnet_w32"
    repeats: int = 10

    @property
    def method(self) -> PINet:
        """CrowdPose's."""
        return PINet(CROWDPOSE_14, min_part_area=0, backbone=self.backbone)


SMALL = Scale(
    image=64,
    train=(2,),
    predict=(1, 2),
    backbone=HRNetConfig(8, bottleneck_width=4, bottlenecks=1, width=4, modules=(1, 1), blocks=1),
    timm="hrnet_w18_small",
    repeats=2,
)


class Row(NamedTuple):
    """A line of the table; what is not known is None."""

    what: str
    seconds: float | None = None
    images: int = 1  # that the seconds are of
    flops: float | None = None  # of these images
    bytes: float | None = None
    note: str = ""


class Costs(NamedTuple):
    """Of one call of a program."""

    flops: float | None
    bytes: float | None
    note: str


class Work(NamedTuple):
    """A program, and what is found out with it.

    Attributes:
        name: of its row.
        lower: traces it.
        measure: runs what was compiled.
        timed: has to wait until nothing compiles any more.
    """

    name: str
    lower: Callable[[], Any]
    measure: Callable[[Any, Costs], Row]
    timed: bool = True


def works_in_order(scale: Scale) -> Iterator[Work]:
    """The most important ones first."""
    first, *others = scale.train
    yield _training(scale, first)
    variables = _golden_variables()
    yield _golden_maps(variables)
    yield from (_prediction(scale, batch) for batch in scale.predict)
    yield _golden_poses(fold_batch_norm(variables))
    yield _golden_refinement(variables)
    yield _fusion(scale)
    yield _targets(scale)
    yield _grouping(scale)
    yield from (_training(scale, batch) for batch in others)


def _program(function: Callable[..., Any]) -> Any:
    return jax.jit(function, compiler_options=compiler_options(jax.default_backend()))


def _golden_variables() -> Variables:
    method = golden.METHODS["crowdpose"]
    shapes = golden.read_shapes(golden.FOLDER / "state_dict_crowdpose.json")
    return from_state_dict(golden.draw_state_dict(method, shapes), method)


def _verdict(name: str, errors: dict[str, float], tolerance: float, unit: str) -> Row:
    worst = max(errors, key=lambda key: errors[key])
    holds = "holds" if errors[worst] <= tolerance else "FAILS"
    note = f"{worst}: off by {errors[worst]:.1e} {unit}, tolerance {tolerance:g}: {holds}"
    return Row(name, note=note)


def _golden_work(
    name: str, function: Callable[..., Any], inputs: tuple[Any, ...], verdict: Callable[[Any], Row]
) -> Work:
    """Compares a program in true float32 with the reference's figures."""

    def lower() -> Any:
        with jax.default_matmul_precision("highest"):  # otherwise TF32, where a GPU has it
            return _program(function).lower(*inputs)

    def measure(program: Any, costs: Costs) -> Row:
        row = verdict(jax.device_get(program(*inputs)))
        return row._replace(note=f"{row.note}; {costs.note}")

    return Work(name, lower, measure, timed=False)


def _golden_maps(variables: Variables) -> Work:
    name, network = "golden maps, float32", golden.METHODS["crowdpose"].network()
    figures = golden.read_figures("network_crowdpose.npz")

    def verdict(outputs: Any) -> Row:
        found = {"features": outputs.features, **outputs.maps._asdict()}
        errors = {key: golden.relative_error(x, figures[key]) for key, x in found.items()}
        return _verdict(name, errors, 1e-4, "of the largest")

    return _golden_work(
        name, network.apply, (variables, normalize(jnp.asarray(figures["image"][None]))), verdict
    )


def _golden_refinement(variables: Variables) -> Work:
    name, network = "golden refinement, float32", golden.METHODS["crowdpose"].network()
    figures = golden.read_figures("network_crowdpose.npz")
    centers = figures["pr_center_yx"].astype(np.int32)

    def verdict(delta: Any) -> Row:
        error = golden.relative_error(delta, figures["pr_delta"])
        return _verdict(name, {"delta": error}, 1e-4, "of the largest")

    refine = functools.partial(network.apply, method="refine")
    return _golden_work(
        name, refine, (variables, figures["features"], figures["pr_pose"], centers), verdict
    )


def _golden_poses(folded: Variables) -> Work:
    """Decoded and refined poses of the flip test."""
    name, method = "golden prediction, float32", golden.METHODS["crowdpose"]
    figures = golden.read_figures("network_crowdpose.npz")
    frames = FrameBatch((jnp.asarray(figures["image"][None]),), jnp.zeros((1, 2, 3)))

    def verdict(stages: Any) -> Row:
        poses, expected = stages["refined"], figures["decode_flip_pose"]
        found = poses.keypoints[0][poses.mask[0]][..., :2] / 4
        if found.shape != expected.shape:
            return Row(name, note=f"{len(found)} poses, not {len(expected)}: FAILS")
        error = float(np.abs(found - expected).max())
        return _verdict(name, {"keypoint": error}, 0.0125, "map px")

    procedure = functools.partial(infer, method, PINetInference(input_size=64))
    return _golden_work(name, procedure, (folded, frames), verdict)


def _training(scale: Scale, batch: int) -> Work:
    """The whole step, bfloat16, Adam."""
    name = f"train step, bfloat16, batch {batch}"
    config = TrainingConfig(batch_size=batch, bfloat16=True)
    training = Training.make(scale.method, config, steps_per_epoch=1000)
    arrays = training_batch(batch, scale.image, scale.method.skeleton.num_keypoints)
    mesh = make_mesh(jax.devices()[:1])

    def lower() -> Any:
        shapes = jax.eval_shape(training.init_state, abstract_variables(scale.method))
        step: Any = compile_train_step(training, mesh)  # a jitted function
        return step.lower(shapes, arrays)

    def measure(program: Any, costs: Costs) -> Row:
        state = training.init_state(init_variables(scale.method))
        state = jax.device_put(state, replicated(mesh))
        sent = jax.device_put(arrays, split_by_image(mesh))
        times = []
        for _turn in range(4):  # the first warms up
            start = time.perf_counter()
            for _ in range(scale.repeats):
                state, metrics = program(state, sent)
            jax.block_until_ready(metrics)
            times.append((time.perf_counter() - start) / scale.repeats)
        held = program.memory_analysis()
        memory = (held.argument_size_in_bytes + held.temp_size_in_bytes) / 2**30
        note = f"{memory:.1f} GiB, loss {float(metrics['loss']):.3g}, {costs.note}"
        return Row(name, statistics.median(times[1:]), batch, costs.flops, costs.bytes, note)

    return Work(name, lower, measure)


def _timed_work(
    name: str, images: int, repeats: int, function: Any, inputs: Callable[[], tuple[Any, ...]]
) -> Work:
    """Times a program's calls, each waited for."""

    def lower() -> Any:
        return function.lower(*jax.eval_shape(inputs))

    def measure(program: Any, costs: Costs) -> Row:
        placed = jax.device_put(inputs(), jax.devices()[0])
        seconds = time_in_turns({name: lambda: program(*placed)}, 2 * repeats)[name].median
        return Row(name, seconds, images, costs.flops, costs.bytes, costs.note)

    return Work(name, lower, measure)


def _prediction(scale: Scale, batch: int) -> Work:
    """The whole flip test, images to fused poses."""
    method = scale.method
    procedure = PINetInference(input_size=scale.image, scale_decrease=0.8, bfloat16=True)
    function = _program(functools.partial(infer, method, procedure))

    def inputs() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        pixels = rng.integers(0, 256, (batch, scale.image, scale.image, 3), dtype=np.uint8)
        frames = FrameBatch((jnp.asarray(pixels),), jnp.zeros((batch, 2, 3)))
        return fold_batch_norm(busy_variables(method)), frames

    return _timed_work(
        f"flip test, bfloat16, batch {batch}", batch, scale.repeats, function, inputs
    )


def _fusion(scale: Scale) -> Work:
    fuse, candidates = fusion_of_crowds(_STAGE_BATCH, scale.method)
    name = f"fusion of 90 candidates, batch {_STAGE_BATCH}"
    return _timed_work(name, _STAGE_BATCH, scale.repeats, fuse, lambda: (candidates,))


def _targets(scale: Scale) -> Work:
    arrays = training_batch(_STAGE_BATCH, scale.image, scale.method.skeleton.num_keypoints)
    del arrays["image"]
    name, targets = f"targets of 30 people, batch {_STAGE_BATCH}", jax.jit(scale.method.targets)
    return _timed_work(name, _STAGE_BATCH, scale.repeats, targets, lambda: (arrays,))


def _grouping(scale: Scale) -> Work:
    """Associative embedding: candidates of maps [17, h, w], and their groups."""
    config = GroupingConfig()

    @jax.jit
    @jax.vmap
    def group(heatmap: jax.Array, tag_maps: jax.Array) -> Any:
        return group_candidates(find_candidates(heatmap, tag_maps, config), _ORDER, config)

    def inputs() -> tuple[Any, ...]:
        rng = np.random.default_rng(0)
        heatmap = np.zeros((_STAGE_BATCH, 17, scale.image, scale.image), np.float32)
        tag_maps = np.zeros((_STAGE_BATCH, 17, 2, scale.image, scale.image), np.float32)
        for image in range(_STAGE_BATCH):
            values, xy, tags = crowd(rng)
            x, y = np.moveaxis(xy * scale.image // 512, -1, 0)
            keypoint = np.arange(17)[:, None]
            heatmap[image, keypoint, y, x] = values
            tag_maps[image, keypoint, :, y, x] = tags
        return jnp.asarray(heatmap), jnp.asarray(tag_maps)

    name = f"grouping of 30 people, batch {_STAGE_BATCH}"
    return _timed_work(name, _STAGE_BATCH, scale.repeats, group, inputs)
