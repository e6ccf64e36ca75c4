"""`pinet-jax train`: trains a network, tests it in between, goes on by itself after any end."""

from experiments.training.loop import main, run

__all__ = ["main", "run"]
