"""The pixel loop against balls that are swept along by hand, and who hides whom."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from data_pipelines.synthetic_crowds.primitives import (
    Paint,
    Solids,
    bounding_boxes,
    project,
)
from data_pipelines.synthetic_crowds.rasterizer import FAR, NOBODY, Canvas, rasterize

SIZE = 64


def solid(start, end, radii, frame=None, depth_ratio=1.0) -> Solids:
    frame = np.eye(3) if frame is None else frame
    parts = (start, end, radii[0], radii[1], frame, depth_ratio)
    return Solids(*(jnp.asarray(part, jnp.float32)[None] for part in parts))


def paint(owner: int, color=(1.0, 1.0, 1.0)) -> Paint:
    one = jnp.ones(1, jnp.float32)
    color = jnp.asarray(color, jnp.float32)[None]
    return Paint(
        color, color, color, 1.1 * one, one, one, jnp.zeros((1, 2)), one, 0 * one, 0 * one, 0 * one,
        jnp.full(1, owner, jnp.int32),
    )  # fmt: skip


@jax.jit
def rendered(solids: Solids, looks: Paint) -> Canvas:
    footprints = project(solids, looks.soft, jnp.asarray([0.0, 0.0, -1.0]))
    return rasterize(jnp.zeros((3, SIZE, SIZE)), jnp.zeros((SIZE, SIZE)), footprints, looks)


def swept(solids: Solids, steps: int = 400) -> np.ndarray:
    """Depth of the nearest of many ellipsoids along the axis, by solving each one's quadratic."""
    s = jax.tree.map(lambda part: np.asarray(part[0], np.float64), solids)
    y, x = np.mgrid[:SIZE, :SIZE] + 0.5
    nearest = np.full((SIZE, SIZE), FAR)
    axes = s.frame @ np.diag([1, 1, s.depth_ratio])
    for t in np.linspace(0, 1, steps):
        center = s.start + t * (s.end - s.start)
        radius = s.radius_start + t * (s.radius_end - s.radius_start)
        inverse = np.linalg.inv(axes * radius)
        ray = inverse[:, 2]
        origin = np.stack([x - center[0], y - center[1], 0 * x], -1) @ inverse.T
        b = origin @ ray
        discriminant = b**2 - (ray @ ray) * ((origin**2).sum(-1) - 1)
        root = (-b - np.sqrt(np.maximum(discriminant, 0))) / (ray @ ray)
        nearest = np.where(discriminant > 0, np.minimum(nearest, center[2] + root), nearest)
    return nearest


def rotation(seed: int) -> np.ndarray:
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@pytest.mark.parametrize(
    ("made", "tolerance"),
    [
        (solid((32, 30, 5), (32, 30, 5), (12, 12)), 0.05),
        (solid((20, 20, 0), (44, 40, 15), (8, 8)), 0.05),
        (solid((30, 34, 20), (33, 30, -20), (9, 9)), 0.05),  # points at the camera
        (solid((32, 32, 0), (32, 32, 0), (14, 14), rotation(1), 0.5), 0.05),
        (solid((25, 40, 0), (40, 22, 4), (9, 9), rotation(2), 0.6), 0.05),
        (solid((20, 32, 0), (46, 30, 10), (10, 6)), 0.8),  # tapered: an approximation
        (solid((32, 20, 0), (30, 46, 5), (10, 8), rotation(3), 0.7), 0.8),
    ],
)
def test_a_solid_is_what_a_ball_sweeps(made, tolerance):
    canvas = jax.tree.map(np.asarray, rendered(made, paint(0)))
    expected = swept(made)
    wanted, got = expected < FAR, canvas.owner == 0
    assert wanted.sum() > 100
    assert (wanted & got).sum() / (wanted | got).sum() > 0.96
    # At the outline the surface is seen edge on, and a fraction of a pixel is a large depth.
    inner = wanted & np.roll(wanted, 2, 0) & np.roll(wanted, -2, 0)
    inner &= np.roll(wanted, 2, 1) & np.roll(wanted, -2, 1)
    assert np.median(np.abs(canvas.depth - expected)[inner]) < tolerance
    assert np.abs(canvas.depth - expected)[inner].max() < 1.0 + 3 * tolerance
    np.testing.assert_array_equal(canvas.presence, got)

    y, x = np.nonzero(got)
    box = np.asarray(bounding_boxes(made)[0])
    np.testing.assert_allclose(box, [x.min(), y.min(), x.max() + 1, y.max() + 1], atol=1.01)


def test_the_nearer_solid_hides_the_farther_one_and_both_are_present():
    far = solid((30, 32, 50), (30, 32, 50), (14, 14)), paint(0, (1, 0, 0))
    near = solid((38, 32, -50), (38, 32, -50), (10, 10)), paint(1, (0, 1, 0))
    both = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), far, near)
    canvas = jax.tree.map(np.asarray, rendered(*both))
    assert canvas.owner[32, 38] == 1 and canvas.presence[32, 38] == 0b11
    assert canvas.owner[32, 18] == 0 and canvas.presence[32, 18] == 0b01
    assert canvas.owner[2, 2] == NOBODY and canvas.presence[2, 2] == 0
    assert canvas.color[1, 32, 38] > 0 and canvas.color[0, 32, 38] == 0
    assert canvas.depth[32, 38] == pytest.approx(-60, abs=0.2)


def test_a_shadow_darkens_but_hides_nothing():
    ball = solid((32, 32, 0), (32, 32, 0), (10, 10)), paint(0)
    shade = solid((32, 32, -90), (32, 32, -90), (20, 20)), paint(NOBODY, (0, 0, 0))
    shade = shade[0], shade[1]._replace(alpha=jnp.full(1, 0.4), rest_alpha=jnp.full(1, 0.4))
    plain = rendered(*jax.tree.map(lambda a: jnp.concatenate([a, a]), ball))
    shaded = rendered(*jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ball, shade))
    assert shaded.owner[32, 32] == 0
    assert float(shaded.color[0, 32, 32]) == pytest.approx(0.6 * float(plain.color[0, 32, 32]))
    np.testing.assert_array_equal(shaded.depth, plain.depth)
