"""How sure the figures are: bootstrap over images.

Images are drawn with replacement, as many as there are; people of one image stay together, since
what makes one of them hard makes the others hard too.

Legend for shapes: B resamples, I images, M figures.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray],
    num_images: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> np.ndarray:
    """The statistic on resampled images.

    Args:
        statistic: from how often each image occurs, int [I], to figures [M].
        num_images: I.
        resamples: B.
        seed: the same seed draws the same images, whatever the statistic: what makes comparisons
            of two systems paired.

    Returns:
        float64 [B, M].
    """
    rng = np.random.default_rng(seed)
    uniform = np.full(num_images, 1 / max(num_images, 1))
    return np.stack([statistic(rng.multinomial(num_images, uniform)) for _ in range(resamples)])


def interval(samples: np.ndarray, *, level: float = 0.95) -> np.ndarray:
    """The percentile interval of every figure [M, 2].

    Resamples in which a figure is not defined (NaN: nobody to find) are left out of it; NaN where
    all of them are.
    """
    tail = 50 * (1 - level)
    bounds = np.full((samples.shape[1], 2), np.nan)
    for column, figure in enumerate(samples.T):
        if not np.isnan(figure).all():
            bounds[column] = np.nanpercentile(figure, (tail, 100 - tail))
    return bounds
