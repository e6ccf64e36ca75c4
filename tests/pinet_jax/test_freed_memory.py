import subprocess
import sys

import pytest

# Counts the page faults of a program that needs 128 MiB for a moment, after it was run before.
SCRIPT = """
import resource, sys
import jax, jax.numpy as jnp
from pinet_jax.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

@jax.jit
def program(x):  # [4096]
    products = x[:, None, None] * jnp.arange(8192.0).reshape(-1, 4)  # 128 MiB
    return jnp.sum(jnp.sort(products, axis=-1))

x = jnp.ones(4096)
for _ in range(2):
    program(x).block_until_ready()
counts = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    program(x).block_until_ready()
    counts.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(min(counts))  # now and then the heap grows, when something small lies in the way
"""


def page_faults(word: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_is_not_asked_for_twice():
    # 32768 pages; 64 where the system has huge ones.
    assert page_faults("kept") < 30 < page_faults("freed")
