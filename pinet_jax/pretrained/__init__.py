"""The network that comes with the package; `photographs.md` says how it was trained."""

from pathlib import Path

PHOTOGRAPHS = Path(__file__).with_name("photographs.safetensors")
