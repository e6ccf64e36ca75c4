"""From datasets to batches: the only package that imports TensorFlow, where records are built and
where batches of them are made.
"""

import os

# TensorFlow only moves bytes here; how it would compute is no news for a user.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
