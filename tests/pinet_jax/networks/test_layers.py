import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

from pinet_jax.networks.layers import upsample_bilinear
from pinet_jax.networks.materialization import materialized
from pinet_jax.runtime import compiler_options, make_mesh


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlargement_is_half_pixel_bilinear(factor):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = jax.image.resize(x, (2, 3 * factor, 5 * factor, 4), "bilinear")
    np.testing.assert_allclose(upsample_bilinear(jnp.asarray(x), factor), expected, atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="how a CPU is compiled for")
def test_fusion_stops_at_what_is_materialized():
    """Else every layer would compute the layers before it anew, at the same values."""

    def kernels(between):
        program = jax.jit(
            lambda x: jnp.tanh(between(jnp.exp(x))), compiler_options=compiler_options("cpu")
        )
        return program.lower(jnp.ones((8, 8))).compile().as_text().count("kind=kLoop")

    assert (kernels(lambda x: x), kernels(materialized)) == (1, 2)


def test_barriers_are_for_programs_of_cpus_alone():
    """Whichever machine they are lowered on, and through whatever transformation."""
    mesh = make_mesh(jax.devices()[:2])

    def slope(x):
        return jax.grad(lambda x: jnp.tanh(materialized(jnp.exp(x))).sum())(x)

    split = jax.shard_map(jax.vmap(slope), mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    lowered = jax.jit(split).trace(jnp.ones((4, 3)))
    barriers = {
        platform: lowered.lower(lowering_platforms=(platform,)).as_text().count("barrier")
        for platform in ("cpu", "cuda", "tpu")
    }
    assert barriers == {"cpu": 2, "cuda": 0, "tpu": 0}
    x = jnp.linspace(-1, 1, 12).reshape(4, 3)
    expected = (1 - jnp.tanh(jnp.exp(x)) ** 2) * jnp.exp(x)
    np.testing.assert_allclose(split(x), expected, rtol=1e-5)
    assert compiler_options("cuda") == compiler_options("tpu") == {}
