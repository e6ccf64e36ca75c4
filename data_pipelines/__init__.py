"""From datasets to batches: the only package that imports TensorFlow (and not in `config.py`)."""
