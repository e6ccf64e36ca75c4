"""`pinet-jax complexity`: parameters and multiply-adds of a network, beside the paper's Table 3."""

from __future__ import annotations

import functools
import operator
from collections.abc import Mapping, Sequence

from experiments.configs import load_config
from experiments.configs.paper_rows import SIZES
from pinet_jax.complexity import Complexity, count_complexity
from pinet_jax.errors import UsageError
from pinet_jax.runtime import use_user_cache


def main(*, config: str, size: tuple[int, ...] | None = None) -> None:
    """Counts a network's parameters and multiply-adds, by layer and from the compiled program.

    Args:
        config: the experiment: ochuman, crowdpose, coco, a row of the paper's tables, or a Python
            file of your own.
        size: height and width of what the network sees in pixels, multiples of 32; one number for
            both. By default 512, and of a top-down network its crops' own.
    """
    if size is not None and len(size) not in (1, 2):
        raise UsageError("--size takes one number or two, the image's height and width")
    network = load_config(config).model
    use_user_cache()
    if size is None:
        shape = network.frame_shapes((512, 512), network.inference_type())[0]
    else:
        shape = (size[0], size[-1])
    counts = count_complexity(network, shape)
    print(f"{config}: one frame of {shape[0]} x {shape[1]}, without its mirror image\n")
    print(table(counts, [module.note for module in network.modules(shape).values()]))


def table(counts: Mapping[str, Complexity], notes: Sequence[str] = ()) -> str:
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
                f"{name:<20}{size.parameters:>14.1f}{size.multiply_adds:>12.1f}"
                for name, size in SIZES.items()
            ),
        ]
    )


def _sum(*counts: Complexity) -> Complexity:
    return functools.reduce(operator.add, counts)


def _row(name: str, count: Complexity) -> str:
    return (
        f"{name:<20}{count.parameters / 1e6:>14.2f}"
        f"{count.multiply_adds / 1e9:>12.2f}{count.compiled / 1e9:>12.2f}"
    )
