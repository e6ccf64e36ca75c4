"""The command itself, before there is a page."""

import subprocess
import sys

from tests.conftest import ROOT


def test_help_does_not_wait_for_jax():
    script = (
        "import sys\n"
        "from experiments import cli\n"
        "try:\n"
        "    cli.main()\n"
        "finally:\n"
        "    assert 'jax' not in sys.modules\n"
    )
    call = [sys.executable, "-c", script, "demo", "--help"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "--port" in done.stdout
