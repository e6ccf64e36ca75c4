"""Bodies: proportions, forward kinematics, keypoints and the solids that they are made of.

A person's own axes: x to the person's left, y up, z to the front; lengths are in body heights and
the hips' centre is the origin. The camera's axes are those of `primitives`.

Legend for shapes: J landmarks, M solids of a body.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds import poses
from data_pipelines.synthetic_crowds.dice import Dice
from data_pipelines.synthetic_crowds.primitives import Solids, bounding_boxes
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


class Shape(NamedTuple):
    """A body's proportions, each a factor about 1 (float32 scalars)."""

    height: jax.Array  # of the person among others
    head: jax.Array
    torso: jax.Array
    shoulders: jax.Array
    hips: jax.Array
    arms: jax.Array
    legs: jax.Array
    girth: jax.Array
    belly: jax.Array


def sample_shape(key: jax.Array) -> Shape:
    """Draws an adult or, one time in seven, a child."""
    dice = Dice(key, 11)
    child = dice.sometimes(0.14, 0.4, 1.0)

    def about_one(spread: float) -> jax.Array:
        return 1.0 + spread * dice.normal()

    girth = about_one(0.11)
    return Shape(
        height=about_one(0.06) * (1.0 - 0.38 * child),
        head=about_one(0.04) * (1.0 + 0.42 * child),
        torso=about_one(0.035),
        shoulders=about_one(0.07) * (1.0 - 0.08 * child),
        hips=about_one(0.08),
        arms=about_one(0.035) * (1.0 - 0.08 * child),
        legs=about_one(0.035) * (1.0 - 0.12 * child),
        girth=girth,
        belly=jnp.maximum(girth, 0.9) * (1.0 + 0.1 * jnp.abs(dice.normal())),
    )


class Dress(NamedTuple):
    """What of the clothes and hair is geometry (float32 scalars)."""

    skirt: jax.Array  # its length in thighs, 0 for none
    trouser_width: jax.Array  # factor on the shins' radius
    hair: jax.Array  # thickness in head radii
    long_hair: jax.Array  # its length in head heights, 0 for none
    brim: jax.Array  # of a cap, 0 for none
    backpack: jax.Array  # size, 0 for none


def rotation(axis: int, angle: jax.Array) -> jax.Array:
    """The right-handed rotation about a coordinate axis, float32 [3, 3]."""
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    one, zero = jnp.ones_like(cos), jnp.zeros_like(cos)
    rows = (
        [[one, zero, zero], [zero, cos, -sin], [zero, sin, cos]],
        [[cos, zero, sin], [zero, one, zero], [-sin, zero, cos]],
        [[cos, -sin, zero], [sin, cos, zero], [zero, zero, one]],
    )[axis]
    return jnp.stack([jnp.stack(row) for row in rows])


def _point(x: float | jax.Array, y: float | jax.Array, z: float | jax.Array) -> jax.Array:
    return jnp.stack([jnp.asarray(value, jnp.float32) for value in (x, y, z)])


class _Builder:
    """Collects a body's solids by name, in body coordinates."""

    def __init__(self) -> None:
        self.parts: dict[str, Solids] = {}

    def add(
        self,
        name: str,
        start: jax.Array,
        end: jax.Array,
        radii: tuple[float | jax.Array, float | jax.Array],
        frame: jax.Array | None = None,
        depth_ratio: float | jax.Array = 1.0,
    ) -> None:
        self.parts[name] = Solids(
            start,
            end,
            jnp.asarray(radii[0], jnp.float32),
            jnp.asarray(radii[1], jnp.float32),
            jnp.eye(3) if frame is None else frame,
            jnp.asarray(depth_ratio, jnp.float32),
        )


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
    *(f"{side}_{part}" for part in ("thigh", "shin", "foot", "upper_arm", "forearm", "hand")
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
    builder = _Builder()
    points: dict[str, jax.Array] = {}
    root = rotation(0, angle["lean"]) @ rotation(2, -angle["tilt"])
    neck, chest_frame = _add_torso(builder, shape, dress, angle, root)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        points |= _add_leg(builder, shape, dress, angle, root, side, sign)
        points |= _add_arm(builder, shape, angle, neck, chest_frame, side, sign)
    _add_skirt(builder, shape, dress, root, points)
    points |= _add_head(builder, shape, dress, angle, neck, chest_frame)
    solids = jax.tree.map(lambda *s: jnp.stack(s), *(builder.parts[n] for n in SOLID_NAMES))
    return Body(jnp.stack([points[name] for name in LANDMARKS]), solids)


def _add_torso(
    builder: _Builder, shape: Shape, dress: Dress, angle: dict[str, jax.Array], root: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The trunk; returns the neck's base and the chest's frame."""
    bend, side, twist = (angle[f"spine_{name}"] for name in ("bend", "side", "twist"))

    def spine(share: float) -> jax.Array:
        return (
            root
            @ rotation(0, share * bend)
            @ rotation(2, -share * side)
            @ rotation(1, share * twist)
        )

    low, chest = spine(0.4), spine(1.0)
    waist = low @ _point(0.0, 0.13 * shape.torso, 0.0)
    neck = waist + chest @ _point(0.0, 0.168 * shape.torso, -0.006)
    hip_width = 0.086 * shape.hips * shape.girth
    builder.add(
        "abdomen",
        low @ _point(0.0, 0.11 * shape.torso, 0.004),
        root @ _point(0.0, 0.012, 0.0),
        (0.08 * shape.belly, hip_width),
        low,
        0.72 * shape.belly / shape.hips,
    )
    builder.add(
        "chest",
        waist + chest @ _point(0.0, 0.09 * shape.torso, 0.0),
        low @ _point(0.0, 0.10 * shape.torso, 0.002),
        (0.098 * shape.shoulders * (0.7 + 0.3 * shape.girth), 0.08 * shape.belly),
        chest,
        0.64,
    )
    back = waist + chest @ _point(0.0, 0.1, -0.085)
    builder.add(
        "backpack",
        back,
        back + chest @ _point(0.0, -0.1, -0.012),
        (0.075 * dress.backpack, 0.085 * dress.backpack),
        chest,
        0.6,
    )
    return neck, chest


def _add_leg(
    builder: _Builder,
    shape: Shape,
    dress: Dress,
    angle: dict[str, jax.Array],
    root: jax.Array,
    side: str,
    sign: float,
) -> dict[str, jax.Array]:
    thigh_frame = (
        root
        @ rotation(0, -angle[f"{side}_hip_flex"])
        @ rotation(2, sign * angle[f"{side}_hip_abduct"])
        @ rotation(1, -sign * angle[f"{side}_hip_rotate"])
    )
    shin_frame = thigh_frame @ rotation(0, angle[f"{side}_knee"])
    foot_frame = shin_frame @ rotation(0, -angle[f"{side}_ankle"])
    hip = root @ _point(sign * 0.052 * shape.hips, 0.0, 0.0)
    knee = hip + thigh_frame @ _point(0.0, -0.245 * shape.legs, 0.0)
    ankle = knee + shin_frame @ _point(0.0, -0.245 * shape.legs, 0.0)
    thick = shape.girth
    builder.add(f"{side}_thigh", hip, knee, (0.054 * thick * shape.hips, 0.037 * thick))
    loose = 0.021 * thick * dress.trouser_width
    builder.add(f"{side}_shin", knee, ankle, (0.036 * thick, jnp.maximum(loose, 0.019)))
    builder.add(
        f"{side}_foot",
        ankle + foot_frame @ _point(0.0, -0.022, -0.018),
        ankle + foot_frame @ _point(0.0, -0.03, 0.088),
        (0.024, 0.02),
    )
    return {f"{side}_hip": hip, f"{side}_knee": knee, f"{side}_ankle": ankle}


def _add_skirt(
    builder: _Builder,
    shape: Shape,
    dress: Dress,
    root: jax.Array,
    points: dict[str, jax.Array],
) -> None:
    """A cone from the waist to where the knees point, flattened with the pelvis."""
    waist = root @ _point(0.0, 0.07, 0.0)
    knees = 0.5 * (points["left_knee"] + points["right_knee"])
    hips = 0.5 * (points["left_hip"] + points["right_hip"])
    hem = hips + dress.skirt * (knees - hips)
    spread = 0.5 * jnp.linalg.norm(points["left_knee"] - points["right_knee"])
    width = 0.06 * shape.girth + dress.skirt * spread + 0.025
    present = (dress.skirt > 0).astype(jnp.float32)
    builder.add(
        "skirt",
        waist,
        hem,
        (0.078 * shape.girth * shape.hips * present, width * present),
        root,
        0.85,
    )


def _add_arm(
    builder: _Builder,
    shape: Shape,
    angle: dict[str, jax.Array],
    neck: jax.Array,
    chest_frame: jax.Array,
    side: str,
    sign: float,
) -> dict[str, jax.Array]:
    swing = rotation(0, -angle[f"{side}_shoulder_flex"]) @ rotation(
        2, sign * angle[f"{side}_shoulder_abduct"]
    )
    raised = 0.5 - 0.5 * swing[1, 1]  # 0 for a hanging arm, 1 for one that points up
    upper_frame = chest_frame @ swing @ rotation(1, -sign * angle[f"{side}_shoulder_rotate"])
    lower_frame = upper_frame @ rotation(0, -angle[f"{side}_elbow"])
    hand_frame = lower_frame @ rotation(2, sign * angle[f"{side}_wrist"])
    shoulder = neck + chest_frame @ _point(
        sign * (0.108 - 0.022 * raised) * shape.shoulders, -0.028 + 0.032 * raised, 0.0
    )
    elbow = shoulder + upper_frame @ _point(0.0, -0.17 * shape.arms, 0.0)
    wrist = elbow + lower_frame @ _point(0.0, -0.145 * shape.arms, 0.0)
    thick = shape.girth
    builder.add(f"{side}_upper_arm", shoulder, elbow, (0.035 * thick, 0.026 * thick))
    builder.add(f"{side}_forearm", elbow, wrist, (0.0265 * thick, 0.0175 * thick))
    builder.add(
        f"{side}_hand",
        wrist + hand_frame @ _point(0.0, -0.015, 0.0),
        wrist + hand_frame @ _point(0.0, -0.06, 0.0),
        (0.019, 0.021),
        hand_frame @ rotation(1, jnp.float32(1.5)),
        0.62,
    )
    return {f"{side}_shoulder": shoulder, f"{side}_elbow": elbow, f"{side}_wrist": wrist}


def _add_head(
    builder: _Builder,
    shape: Shape,
    dress: Dress,
    angle: dict[str, jax.Array],
    neck: jax.Array,
    chest_frame: jax.Array,
) -> dict[str, jax.Array]:
    frame = (
        chest_frame
        @ rotation(0, 0.8 * angle["head_nod"])
        @ rotation(1, angle["head_turn"])
        @ rotation(2, -angle["head_tilt"])
    )
    size = shape.head
    throat = neck + frame @ _point(0.0, 0.035, 0.004)
    center = throat + frame @ (size * _point(0.0, 0.062, 0.012))

    def at(x: float, y: float, z: float) -> jax.Array:
        return center + frame @ (size * _point(x, y, z))

    def add(
        name: str,
        start: jax.Array,
        end: jax.Array,
        radii: tuple[float | jax.Array, float | jax.Array],
        depth_ratio: float = 1.0,
    ) -> None:
        builder.add(name, start, end, (radii[0] * size, radii[1] * size), frame, depth_ratio)

    builder.add("neck", neck + chest_frame @ _point(0.0, -0.03, 0.0), throat, (0.034, 0.029))
    add("head", at(0.0, 0.014, 0.0), at(0.0, -0.034, 0.012), (0.050, 0.036), 1.18)
    thick = 0.05 * (1.0 + dress.hair)
    add("hair", at(0.0, 0.02, -0.012), at(0.0, -0.012, -0.026), (thick, 0.9 * thick), 1.14)
    longer = (dress.long_hair > 0).astype(jnp.float32)
    tail = (
        center
        + frame @ (size * _point(0.0, 0.0, -0.03))
        - size * dress.long_hair * (0.1 * chest_frame[:, 1])
    )
    add("long_hair", at(0.0, 0.005, -0.022), tail, (0.054 * longer, 0.045 * longer), 0.7)
    for side, sign in (("left", 1.0), ("right", -1.0)):
        add(f"{side}_ear", at(sign * 0.051, 0.004, -0.004), at(sign * 0.049, -0.016, -0.002),
            (0.0105, 0.008))  # fmt: skip
        add(f"{side}_eye", at(sign * 0.0185, 0.006, 0.0505), at(sign * 0.0195, 0.006, 0.0500),
            (0.0085, 0.0085), 0.8)  # fmt: skip
        add(f"{side}_brow", at(sign * 0.010, 0.0205, 0.0505), at(sign * 0.028, 0.021, 0.0465),
            (0.0045, 0.0035))  # fmt: skip
    add("nose", at(0.0, 0.004, 0.053), at(0.0, -0.016, 0.061), (0.006, 0.0095))
    add("mouth", at(-0.013, -0.037, 0.049), at(0.013, -0.037, 0.049), (0.005, 0.005))
    add("brim", at(0.0, 0.036, 0.03), at(0.0, 0.031, 0.075),
        (0.046 * dress.brim, 0.034 * dress.brim), 1.0)  # fmt: skip
    builder.parts["brim"] = _flatten_down(builder.parts["brim"])
    return {
        "nose": at(0.0, -0.016, 0.062),
        "left_eye": at(0.019, 0.006, 0.054),
        "right_eye": at(-0.019, 0.006, 0.054),
        "left_ear": at(0.051, -0.004, -0.003),
        "right_ear": at(-0.051, -0.004, -0.003),
        "head": at(0.0, 0.06, 0.0),
        "neck": neck + chest_frame @ _point(0.0, 0.008, 0.0),
    }


def _flatten_down(solid: Solids) -> Solids:
    """The same solid, thin along its second axis instead of its third."""
    frame = solid.frame @ rotation(0, jnp.float32(np.pi / 2))
    return solid._replace(frame=frame, depth_ratio=jnp.float32(0.16))


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
