"""Rendered crowds as records, so that what reads photographs reads them, too."""

from __future__ import annotations

import functools
import threading

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.records import Record
from data_pipelines.synthetic_crowds.config import CrowdConfig
from data_pipelines.synthetic_crowds.crowds import Crowd, crowds
from pinet_jax.skeletons import Skeleton


class CrowdRecords:
    """Records without end: number n is image n of a seed, rendered when it is read."""

    index = None  # see `input_pipeline.Records`

    def __init__(self, config: CrowdConfig, skeleton: Skeleton, seed: int) -> None:
        """Notes what to render.

        Args:
            config: what crowds look like.
            skeleton: whose keypoints to give.
            seed: of the crowds.
        """
        self.skeleton = skeleton
        self._key = jax.random.key(seed)
        self._render = jax.jit(functools.partial(crowds, config=config, skeleton=skeleton))
        self._at_work = threading.Lock()  # one picture has work for all cores
        self._read = functools.lru_cache(maxsize=16)(self._made)  # several persons of a crowd

    def __getitem__(self, index: int) -> Record:
        with self._at_work:
            return self._read(index)

    def _made(self, index: int) -> Record:
        made = jax.device_get(self._render(self._key, jnp.asarray([index], jnp.int32)))
        return _record(Crowd(*(field[0] for field in made)), index)


def _record(made: Crowd, number: int) -> Record:
    there = np.asarray(made.people)
    image = cv2.cvtColor(np.asarray(made.image), cv2.COLOR_RGB2BGR)
    height, width = image.shape[:2]
    boxes = np.asarray(made.boxes)[there]
    return Record(
        image=cv2.imencode(".bmp", image)[1].tobytes(),  # nothing is lost, and it costs no time
        image_id=number,
        file_name=f"crowd {number}",
        height=height,
        width=width,
        valid_mask=b"",
        keypoints=np.asarray(made.keypoints)[there],
        boxes=boxes,
        area=boxes[:, 2] * boxes[:, 3],
        annotation_id=np.arange(len(boxes), dtype=np.int64),
        crowd_index=-1.0,
    )
