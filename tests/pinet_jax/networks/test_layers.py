import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pinet_jax.inference import cpu_compiler_options
from pinet_jax.models.layers import materialized, upsample_bilinear


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_enlargement_is_half_pixel_bilinear(factor):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    expected = jax.image.resize(x, (2, 3 * factor, 5 * factor, 4), "bilinear")
    np.testing.assert_allclose(upsample_bilinear(jnp.asarray(x), factor), expected, atol=1e-6)


@pytest.mark.skipif(jax.default_backend() != "cpu", reason="how a CPU is compiled for")
def test_fusion_stops_at_what_is_materialized():
    """Else every layer would compute the layers before it anew, at the same values."""

    def program(x):
        return jnp.tanh(materialized(jnp.exp(x)))

    x = jnp.ones((8, 8))
    compiled = {
        name: jax.jit(program, compiler_options=options).lower(x).compile().as_text()
        for name, options in (("plain", {}), ("ours", cpu_compiler_options()))
    }
    kernels = {name: text.count("kind=kLoop") for name, text in compiled.items()}
    assert kernels == {"plain": 1, "ours": 2}
