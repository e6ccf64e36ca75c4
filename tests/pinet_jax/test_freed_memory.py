import subprocess
import sys

import pytest

# Counts the page faults of filling 128 MiB in another thread, after that was done once.
SCRIPT = """
import ctypes, resource, sys, threading
from pinet_jax.freed_memory import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p

def fill():
    memory = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(1 << 27)))
    libc.memset(memory, 1, ctypes.c_size_t(1 << 27))
    libc.free(memory)

def fill_in_thread():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    thread = threading.Thread(target=fill)
    thread.start()
    thread.join()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

fill_in_thread()
print(fill_in_thread())
"""


def page_faults(word: str) -> int:
    run = subprocess.run([sys.executable, "-c", SCRIPT, word], capture_output=True, check=True)
    return int(run.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's malloc")
def test_memory_is_not_asked_for_twice():
    # 32768 pages; 64 where the system has huge ones.
    assert page_faults("kept") < 30 < page_faults("freed")
