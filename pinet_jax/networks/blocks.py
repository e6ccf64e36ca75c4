"""Maps of few channels as blocks of positions, which fill a TPU's lanes.

A TPU keeps channels in lanes of 128 and fills up what is missing: a map of 32 channels takes the
memory, and in every layer the traffic, of 128. With the channels of 2 x 2 neighbouring positions
side by side no lane is empty. A convolution of such blocks has a larger kernel, with zeros in it:
products with them cost nothing where lanes would be empty.

Legend for shapes: B images, a map of h x w positions with C channels, in blocks of r x c positions.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

_LANES = 128


@struct.dataclass
class Blocks:
    """A map.

    Attributes:
        array: [B, h / r, w / c, r * c * C]; of a block's channels, those of its first position
            come first.
        block: r and c.
    """

    array: jax.Array
    block: tuple[int, int] = struct.field(pytree_node=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the map: B, h, w, C."""
        b, h, w, c = self.array.shape
        rows, columns = self.block
        return b, h * rows, w * columns, c // (rows * columns)

    def __add__(self, other: Blocks) -> Blocks:
        if other.block != self.block:
            other = to_blocks(from_blocks(other), self.block)
        return self.replace(array=self.array + other.array)  # type: ignore[attr-defined]


def best_block(channels: int, height: int, width: int) -> tuple[int, int]:
    """Positions that fill the lanes, at most 2 x 2, and divide the map."""
    positions = _LANES // channels
    columns = 2 if positions >= 2 and width % 2 == 0 else 1
    return 2 if positions >= 2 * columns and height % 2 == 0 else 1, columns


def to_blocks(x: jax.Array, block: tuple[int, int]) -> Blocks:
    """A map [B, h, w, C] in blocks that divide it."""
    b, h, w, c = x.shape
    rows, columns = block
    x = x.reshape(b, h // rows, rows, w // columns, columns, c).swapaxes(2, 3)
    return Blocks(x.reshape(b, h // rows, w // columns, -1), block)


def from_blocks(x: Blocks) -> jax.Array:
    """The map as it was, [B, h, w, C]."""
    b, h, w, c = x.shape
    rows, columns = x.block
    split = x.array.reshape(b, h // rows, w // columns, rows, columns, c)
    return split.swapaxes(2, 3).reshape(x.shape)


def convolve_blocks(x: Blocks, kernel: jax.Array, stride: int) -> Blocks:
    """A convolution, padded by half of the kernel's size; the result is in blocks of its own.

    Args:
        x: its sides are multiples of the stride.
        kernel: [k, k, C, D], k odd.
        stride: between the positions that it is placed at.
    """
    size = len(kernel)
    best = best_block(kernel.shape[-1], x.shape[1] // stride, x.shape[2] // stride)
    # A step from a block of the result to the next one is one of whole blocks.
    block = max(best[0], x.block[0] // stride), max(best[1], x.block[1] // stride)
    axes = [_taps(size, stride, *sides) for sides in zip(x.block, block, strict=True)]
    steps = [stride * after // before for before, after in zip(x.block, block, strict=True)]
    (rows, above), (columns, left) = axes
    # [U, r, r', k], [V, c, c', k], [k, k, C, D] -> [U, V, r, c, C, r', c', D]
    large = jnp.einsum(
        "uapy,vbqx,yxcd->uvabcpqd",
        rows.astype(kernel.dtype),
        columns.astype(kernel.dtype),
        kernel,
        precision=jax.lax.Precision.HIGHEST,  # every entry is one of the kernel's, or zero
    )
    large = large.reshape(len(rows), len(columns), x.array.shape[-1], -1)
    padding = [
        (before, len(taps) - step - before)
        for before, taps, step in zip((above, left), (rows, columns), steps, strict=True)
    ]
    array = jax.lax.conv_general_dilated(
        x.array, large, steps, padding, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    return Blocks(array, block)


def _taps(size: int, stride: int, before: int, after: int) -> tuple[np.ndarray, int]:
    """Which tap of a kernel lies between the positions of two blocks, along one axis.

    Args:
        size: of the kernel.
        stride: of the convolution.
        before: positions of a block of the input.
        after: of the result.

    Returns:
        [U, before, after, size], one at the tap, for each of the U blocks of the input that a block
        of the result is made of; and how many of them lie before the block at the same place.
    """
    read = stride * np.arange(after)[:, None] + np.arange(size)[None] - size // 2
    block, position = read // before, read % before
    first, last = int(block.min()), int(block.max())
    taps = np.zeros((last - first + 1, before, after, size))
    out, tap = np.indices(read.shape)
    taps[block - first, position, out, tap] = 1
    return taps, -first


def repeat_blocks(x: Blocks, factor: int) -> Blocks:
    """Repeats every position an even number of times in both directions."""
    _, h, w, c = x.shape
    rows, columns = best_block(c, factor * h, factor * w)
    y = jnp.repeat(jnp.repeat(from_blocks(x), factor // rows, axis=1), factor // columns, axis=2)
    return Blocks(jnp.tile(y, rows * columns), (rows, columns))
