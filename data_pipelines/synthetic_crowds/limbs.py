"""Forward kinematics, limb by limb: where a body's solids and landmarks are.

A person's own axes: x to the person's left, y up, z to the front; lengths are in body heights and
the hips' centre is the origin.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.primitives import Solids
from data_pipelines.synthetic_crowds.shapes import Dress, Shape


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


class Builder:
    """Collects a body's solids by name, in body coordinates."""

    def __init__(self) -> None:
        self.solids: dict[str, Solids] = {}

    def add(
        self,
        name: str,
        start: jax.Array,
        end: jax.Array,
        radii: tuple[float | jax.Array, float | jax.Array],
        frame: jax.Array | None = None,
        depth_ratio: float | jax.Array = 1.0,
    ) -> None:
        """A solid from start to end, with its radii there."""
        self.solids[name] = Solids(
            start,
            end,
            jnp.asarray(radii[0], jnp.float32),
            jnp.asarray(radii[1], jnp.float32),
            jnp.eye(3) if frame is None else frame,
            jnp.asarray(depth_ratio, jnp.float32),
        )


def add_torso(
    builder: Builder, shape: Shape, dress: Dress, angle: dict[str, jax.Array], root: jax.Array
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


def add_leg(
    builder: Builder,
    shape: Shape,
    dress: Dress,
    angle: dict[str, jax.Array],
    root: jax.Array,
    side: str,
    sign: float,
) -> dict[str, jax.Array]:
    """Thigh, shin and foot; returns hip, knee and ankle."""
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


def add_skirt(
    builder: Builder,
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


def add_arm(
    builder: Builder,
    shape: Shape,
    angle: dict[str, jax.Array],
    neck: jax.Array,
    chest_frame: jax.Array,
    side: str,
    sign: float,
) -> dict[str, jax.Array]:
    """Upper arm, forearm and hand; returns shoulder, elbow and wrist."""
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


class _HeadAxes(NamedTuple):
    """Where the head is and how it is turned."""

    center: jax.Array  # [3]
    frame: jax.Array  # [3, 3]
    size: jax.Array

    def at(self, x: float, y: float, z: float) -> jax.Array:
        """A point of the head, in lengths of an adult's."""
        return self.center + self.frame @ (self.size * _point(x, y, z))


def add_head(
    builder: Builder,
    shape: Shape,
    dress: Dress,
    angle: dict[str, jax.Array],
    neck: jax.Array,
    chest_frame: jax.Array,
) -> dict[str, jax.Array]:
    """The neck, the skull, hair, face and cap."""
    frame = (
        chest_frame
        @ rotation(0, 0.8 * angle["head_nod"])
        @ rotation(1, angle["head_turn"])
        @ rotation(2, -angle["head_tilt"])
    )
    throat = neck + frame @ _point(0.0, 0.035, 0.004)
    center = throat + frame @ (shape.head * _point(0.0, 0.062, 0.012))
    head = _HeadAxes(center, frame, shape.head)
    at = head.at
    builder.add("neck", neck + chest_frame @ _point(0.0, -0.03, 0.0), throat, (0.034, 0.029))
    _add_skull(builder, dress, head, chest_frame)
    _add_face(builder, head)
    return {
        "nose": at(0.0, -0.016, 0.062),
        "left_eye": at(0.019, 0.006, 0.054),
        "right_eye": at(-0.019, 0.006, 0.054),
        "left_ear": at(0.051, -0.004, -0.003),
        "right_ear": at(-0.051, -0.004, -0.003),
        "head": at(0.0, 0.06, 0.0),
        "neck": neck + chest_frame @ _point(0.0, 0.008, 0.0),
    }


def _add_to_head(
    builder: Builder,
    head: _HeadAxes,
    name: str,
    start: jax.Array,
    end: jax.Array,
    radii: tuple[float | jax.Array, float | jax.Array],
    depth_ratio: float = 1.0,
) -> None:
    size = head.size
    builder.add(name, start, end, (radii[0] * size, radii[1] * size), head.frame, depth_ratio)


def _add_skull(builder: Builder, dress: Dress, head: _HeadAxes, chest_frame: jax.Array) -> None:
    """The skull with the hair, which falls along the back, and the cap's brim."""
    add, at = partial(_add_to_head, builder, head), head.at
    add("head", at(0.0, 0.014, 0.0), at(0.0, -0.034, 0.012), (0.050, 0.036), 1.18)
    thick = 0.05 * (1.0 + dress.hair)
    add("hair", at(0.0, 0.02, -0.012), at(0.0, -0.012, -0.026), (thick, 0.9 * thick), 1.14)
    longer = (dress.long_hair > 0).astype(jnp.float32)
    tail = at(0.0, 0.0, -0.03) - head.size * dress.long_hair * (0.1 * chest_frame[:, 1])
    add("long_hair", at(0.0, 0.005, -0.022), tail, (0.054 * longer, 0.045 * longer), 0.7)
    add("brim", at(0.0, 0.036, 0.03), at(0.0, 0.031, 0.075),
        (0.046 * dress.brim, 0.034 * dress.brim), 1.0)  # fmt: skip
    builder.solids["brim"] = _flatten_down(builder.solids["brim"])


def _add_face(builder: Builder, head: _HeadAxes) -> None:
    """Ears, eyes, brows, nose and mouth."""
    add, at = partial(_add_to_head, builder, head), head.at
    for side, sign in (("left", 1.0), ("right", -1.0)):
        add(f"{side}_ear", at(sign * 0.051, 0.004, -0.004), at(sign * 0.049, -0.016, -0.002),
            (0.0105, 0.008))  # fmt: skip
        add(f"{side}_eye", at(sign * 0.0185, 0.006, 0.0505), at(sign * 0.0195, 0.006, 0.0500),
            (0.0085, 0.0085), 0.8)  # fmt: skip
        add(f"{side}_brow", at(sign * 0.010, 0.0205, 0.0505), at(sign * 0.028, 0.021, 0.0465),
            (0.0045, 0.0035))  # fmt: skip
    add("nose", at(0.0, 0.004, 0.053), at(0.0, -0.016, 0.061), (0.006, 0.0095))
    add("mouth", at(-0.013, -0.037, 0.049), at(0.013, -0.037, 0.049), (0.005, 0.005))


def _flatten_down(solid: Solids) -> Solids:
    """The same solid, thin along its second axis instead of its third."""
    frame = solid.frame @ rotation(0, jnp.float32(np.pi / 2))
    return solid._replace(frame=frame, depth_ratio=jnp.float32(0.16))
