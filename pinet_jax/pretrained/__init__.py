"""The network that comes with the package; `synthetic_tiny.md` says how it was trained."""

from pathlib import Path

SYNTHETIC_TINY = Path(__file__).with_name("synthetic_tiny.safetensors")
