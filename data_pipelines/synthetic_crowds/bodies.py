"""Bodies: landmarks and the solids that they are made of, in their own axes and in the camera's.

A person's own axes are those of `limbs`, the camera's those of `primitives`.

Legend for shapes: J landmarks, M solids of a body.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds import poses
from data_pipelines.synthetic_crowds.limbs import (
    Builder,
    add_arm,
    add_head,
    add_leg,
    add_skirt,
    add_torso,
    rotation,
)
from data_pipelines.synthetic_crowds.primitives import Solids, bounding_boxes
from data_pipelines.synthetic_crowds.shapes import Dress, Shape
from pinet_jax.errors import InputError
from pinet_jax.skeletons import Skeleton

# Every keypoint that the renderer knows; a skeleton picks its own by name.
LANDMARKS = (
    "nose", "left_eye", "right_eye", "left_ear", "right_ear",
    "left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist",
    "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle", "right_ankle",
    "head", "neck",
)  # fmt: skip

# How deep below a body's own surface a landmark lies at most where it counts as seen, in body
# heights. Joints lie inside limbs, eyes on the skin.
_DEPTH = {
    "nose": 0.03, "eye": 0.025, "ear": 0.03, "shoulder": 0.07, "elbow": 0.045, "wrist": 0.035,
    "hip": 0.105, "knee": 0.06, "ankle": 0.045, "head": 0.075, "neck": 0.065,
}  # fmt: skip
LANDMARK_DEPTH = np.array([_DEPTH[name.rpartition("_")[2]] for name in LANDMARKS], np.float32)


def landmark_indices(skeleton: Skeleton) -> np.ndarray:
    """Where a skeleton's keypoints are in `LANDMARKS`, int [K].

    Raises:
        InputError: the skeleton has a keypoint that the renderer does not know.
    """
    unknown = [name for name in skeleton.keypoints if name not in LANDMARKS]
    if unknown:
        raise InputError(
            f"skeleton {skeleton.name}: synthetic people have no {', '.join(unknown)};"
            f" they have {', '.join(LANDMARKS)}"
        )
    return np.array([LANDMARKS.index(name) for name in skeleton.keypoints])


class Body(NamedTuple):
    """A posed body in its own axes: landmarks float32 [J, 3], and M solids as in `SOLID_NAMES`."""

    landmarks: jax.Array
    solids: Solids


class View(NamedTuple):
    """A body in the camera's axes, in body heights about the hips.

    Attributes:
        solids: the M solids.
        landmarks: float32 [J, 3].
        box: float32 [4], x0, y0, x1, y1.
        soles: float32 [], how far below the hips the lower foot is.
    """

    solids: Solids
    landmarks: jax.Array
    box: jax.Array
    soles: jax.Array


SOLID_NAMES = (
    "backpack", "abdomen", "chest", "skirt",
    *(f"{side}_{limb}" for limb in ("thigh", "shin", "foot", "upper_arm", "forearm", "hand")
      for side in ("left", "right")),
    "neck", "long_hair", "head", "hair", "left_ear", "right_ear", "brim",
    "nose", "mouth", "left_eye", "right_eye", "left_brow", "right_brow",
)  # fmt: skip


def build_body(shape: Shape, dress: Dress, angles: jax.Array) -> Body:
    """Forward kinematics.

    Args:
        shape, dress: of one person.
        angles: float32 [A], see `poses.ANGLES`; heading is not among them.
    """
    angle = {name: angles[index] for name, index in poses.INDEX.items()}
    builder = Builder()
    points: dict[str, jax.Array] = {}
    root = rotation(0, angle["lean"]) @ rotation(2, -angle["tilt"])
    neck, chest_frame = add_torso(builder, shape, dress, angle, root)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points |= add_leg(builder, shape, dress, angle, root, side, sign)
        points |= add_arm(builder, shape, angle, neck, chest_frame, side, sign)
    add_skirt(builder, shape, dress, root, points)
    points |= add_head(builder, shape, dress, angle, neck, chest_frame)
    solids = jax.tree.map(lambda *s: jnp.stack(s), *(builder.solids[n] for n in SOLID_NAMES))
    return Body(jnp.stack([points[name] for name in LANDMARKS]), solids)


def view(body: Body, camera: jax.Array) -> View:
    """Turns a body to the camera.

    Args:
        body: in its own axes.
        camera: float32 [3, 3], rotation from the person's axes to right, up, towards the viewer.
    """
    to_camera = jnp.asarray(np.diag([1.0, -1.0, -1.0]), jnp.float32) @ camera
    solids = body.solids._replace(
        start=body.solids.start @ to_camera.T,
        end=body.solids.end @ to_camera.T,
        frame=jnp.einsum("ij,mjk->mik", to_camera, body.solids.frame),
    )
    boxes = bounding_boxes(solids)  # [M, 4]
    there = (solids.radius_start > 0)[:, None]
    low = jnp.min(jnp.where(there, boxes[:, :2], jnp.inf), axis=0)
    high = jnp.max(jnp.where(there, boxes[:, 2:], -jnp.inf), axis=0)
    feet = [SOLID_NAMES.index(f"{side}_foot") for side in ("left", "right")]
    return View(
        solids,
        body.landmarks @ to_camera.T,
        jnp.concatenate([low, high]),
        jnp.max(boxes[np.array(feet), 3]),
    )
