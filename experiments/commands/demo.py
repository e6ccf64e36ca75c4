"""`pinet-jax demo`: a local page that shows how poses come to be."""

from __future__ import annotations

from pathlib import Path


def main(*, checkpoint: Path | None = None, config: str | None = None, port: int = 7860) -> None:
    """Serves a page on this machine alone: drop a photograph, and see how its poses come to be.

    It shows coarse, refined and fused poses, the candidates of each person, and which keypoint came
    from which part; poses and pictures can be downloaded. Nothing is sent anywhere, or fetched.
    Needs Gradio: pip install 'pinet-jax[demo]'.

    Example: pinet-jax demo --port 7860

    Args:
        checkpoint: a PINet, as written by `train`, `convert` or `export`; by default the small
            network that comes with the package.
        config: the checkpoint's experiment; needed only where its graph is a function of your own.
        port: of 127.0.0.1.
    """
    # Here, so that its help need not wait for JAX.
    from experiments.demo.analysis import Analyst
    from experiments.demo.page import serve
    from experiments.testing.chosen_network import choose_network
    from pinet_jax.runtime import use_user_cache

    network = choose_network(checkpoint, config)
    use_user_cache()
    serve(Analyst(network.read()), port)
