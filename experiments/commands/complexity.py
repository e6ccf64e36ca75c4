"""`pinet-jax complexity`: parameters and multiply-adds of networks, beside the paper's Table 3."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from experiments.commands.model_flags import named_model
from experiments.configs import load_config
from experiments.configs.field_types import field_types
from experiments.configs.paper_rows import SYSTEMS
from pinet_jax.complexity import ByLayer, Complexity, count_by_layer, count_complexity
from pinet_jax.errors import UsageError
from pinet_jax.methods.base import Method
from pinet_jax.runtime import use_user_cache

__all__ = ["defaults", "field_types", "main"]

Counts = TypeVar("Counts", bound=ByLayer)


def defaults(arguments: Sequence[str]) -> dict[str, Any]:
    """The network of the named config: every field of it is a flag."""
    return {"model": named_model(arguments)}


def main(
    *,
    model: Method,
    config: str | None = None,
    table: bool = False,
    size: tuple[int, ...] | None = None,
) -> None:
    """Counts a network's parameters and multiply-adds, by layer and from the compiled program.

    With --table: of all systems that the paper compares, by layer, beside its Table 3.

    Example: pinet-jax complexity --config ochuman

    Args:
        model: the network's fields, each of which can be given another value.
        config: the experiment: ochuman, crowdpose, coco, a row of the paper's tables, or a Python
            file of your own.
        table: show all systems in place of one.
        size: height and width of what the network sees in pixels, multiples of 32; one number for
            both. By default 512, and of a top-down network its crops' own.
    """
    if table == (config is not None):
        raise UsageError("give --config or --table, one of them")
    if size is not None and len(size) not in (1, 2):
        raise UsageError("--size takes one number or two, the image's height and width")
    if table:
        if size is not None or model != named_model([]):
            raise UsageError("--table shows all systems as they are; leave --size and --model out")
        print(
            all_systems({name: _counted_layers(system.config) for name, system in SYSTEMS.items()})
        )
        return
    use_user_cache()
    shape = _usual_frame(model) if size is None else (size[0], size[-1])
    counts = count_complexity(model, shape)
    print(
        f"{config}: {_sum(*counts.values()).parameters:,} parameters; "
        f"one frame of {shape[0]} x {shape[1]}, without its mirror image\n"
    )
    print(one_network(counts, [module.note for module in model.modules(shape).values()]))


def one_network(counts: Mapping[str, Complexity], notes: Sequence[str] = ()) -> str:
    """The counts and the paper's, for a terminal.

    Args:
        counts: from `count_complexity`.
        notes: for the reader.
    """
    total = _sum(*counts.values())
    rows = dict(counts)
    if "refinement" in counts:
        rows["without refinement"] = _sum(counts["backbone"], counts["pose generation"])
    rows["all"] = total
    beside_layers = total.compiled - (total.multiply_adds - total.on_padding)
    return "\n".join(
        [
            f"{'':<20}{'parameters, M':>14}{'multiply-adds, G':>24}",
            f"{'':<20}{'':>14}{'by layer':>12}{'compiled':>12}",
            *(_row(name, count) for name, count in rows.items()),
            "",
            "By layer: every product of convolutions, dense layers and graph convolutions, and",
            f"among them {total.on_padding / 1e9:.2f} G with the zeros of the padding.",
            "Compiled: half of the operations that XLA counts, without those zeros, and with",
            f"{beside_layers / 1e9:.2f} G for upsampling, sums, ReLUs and reading of features.",
            *filter(None, notes),
            "",
            "The paper's Table 3, at 512 x 512 (its PINet fits the network without refinement):",
            *(
                f"{name:<20}{system.paper.parameters:>14.1f}{system.paper.multiply_adds:>12.1f}"
                for name, system in SYSTEMS.items()
                if system.paper is not None
            ),
        ]
    )


def all_systems(counts: Mapping[str, Mapping[str, ByLayer]]) -> str:
    """Every system's counts beside the paper's Table 3, for a terminal.

    Args:
        counts: of the modules of each of `SYSTEMS`, from `count_by_layer`.
    """
    rows = [_beside_the_paper(name, _sum(*modules.values())) for name, modules in counts.items()]
    unrefined = _sum(*(count for name, count in counts["PINet"].items() if name != "refinement"))
    place = 1 + list(counts).index("PINet")
    rows.insert(place, f"{'  unrefined':<18}{_figures(unrefined)}")
    return "\n".join(
        [
            f"{'':<18}{'parameters':>14}{'M':>8}{'paper':>8}{'multiply-adds, G':>20}{'paper':>8}",
            *rows,
            "",
            "COCO's networks, of width 32 (SimpleBaseline: ResNet-50), counted by layer: one pass",
            "on 512 x 512 pixels, of the top-down ones on one person's crop of 256 x 192.",
            "The paper's PINet fits the network without refinement. Its HigherHRNet counts the",
            "transposed convolution at every position that it puts out, four times what it takes.",
        ]
    )


def _beside_the_paper(name: str, total: ByLayer) -> str:
    paper = SYSTEMS[name].paper
    stated = (
        ("", "") if paper is None else (f"{paper.parameters:.1f}", f"{paper.multiply_adds:.1f}")
    )
    return f"{name:<18}{_figures(total, *stated)}"


def _figures(total: ByLayer, parameters: str = "", multiply_adds: str = "") -> str:
    return (
        f"{total.parameters:>14,}{total.parameters / 1e6:>8.2f}{parameters:>8}"
        f"{total.multiply_adds / 1e9:>20.2f}{multiply_adds:>8}"
    ).rstrip()


def _counted_layers(config: str) -> dict[str, ByLayer]:
    model = load_config(config).model
    return count_by_layer(model, _usual_frame(model))


def _usual_frame(model: Method) -> tuple[int, int]:
    """That of a square image of 512 pixels; of a top-down network its crops' own."""
    return model.frame_shapes((512, 512), model.inference_type())[0]


def _sum(*counts: Counts) -> Counts:
    return functools.reduce(operator.add, counts)


def _row(name: str, count: Complexity) -> str:
    return (
        f"{name:<20}{count.parameters / 1e6:>14.2f}"
        f"{count.multiply_adds / 1e9:>12.2f}{count.compiled / 1e9:>12.2f}"
    )
