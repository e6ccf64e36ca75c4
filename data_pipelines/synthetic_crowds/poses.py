"""Poses that a human body can take: joint angles within limits, drawn from families of postures.

An angle is zero in a person who stands upright with hanging arms. Ranges of motion are rounded
from the clinical norms of the American Academy of Orthopaedic Surgeons ("Joint Motion", 1965),
a little inside them: strangers in a photograph rarely are at the end of a joint's range.

Legend for shapes: A angles.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.dice import Dice

# Lowest and highest angle in degrees. `lean` and `spine_bend` are forward, `*_side`, `*_tilt`
# towards the person's left, `*_twist`, `*_turn` to the left; limbs flex forward, knees backward;
# `abduct` is away from the body, `rotate` inward.
_TRUNK_LIMITS = {
    "lean": (-10, 35),
    "tilt": (-12, 12),
    "spine_bend": (-15, 65),
    "spine_side": (-25, 25),
    "spine_twist": (-35, 35),
    "head_nod": (-30, 35),
    "head_turn": (-60, 60),
    "head_tilt": (-20, 20),
}
_LIMB_LIMITS = {
    "shoulder_flex": (-45, 170),
    "shoulder_abduct": (3, 165),
    "shoulder_rotate": (-50, 70),
    "elbow": (3, 145),
    "wrist": (-40, 40),
    "hip_flex": (-20, 115),
    "hip_abduct": (-3, 42),
    "hip_rotate": (-30, 25),
    "knee": (2, 140),
    "ankle": (-30, 20),
}
LIMITS = {
    **_TRUNK_LIMITS,
    **{f"{side}_{name}": span for name, span in _LIMB_LIMITS.items() for side in ("left", "right")},
}
ANGLES = tuple(LIMITS)
INDEX = {name: a for a, name in enumerate(ANGLES)}
LOWEST = np.radians([LIMITS[name][0] for name in ANGLES]).astype(np.float32)
HIGHEST = np.radians([LIMITS[name][1] for name in ANGLES]).astype(np.float32)

# Families: mean and spread in degrees where they differ from standing. An angle without a side
# holds for both sides. A drawn pose is mirrored half of the time.
_STANDING: dict[str, tuple[float, float]] = {
    "lean": (0, 3), "tilt": (0, 2), "spine_bend": (2, 6), "spine_side": (0, 5),
    "spine_twist": (0, 10), "head_nod": (5, 12), "head_turn": (0, 22), "head_tilt": (0, 6),
    "shoulder_flex": (5, 16), "shoulder_abduct": (13, 9), "shoulder_rotate": (10, 18),
    "elbow": (20, 20), "wrist": (0, 12), "hip_flex": (3, 7), "hip_abduct": (6, 5),
    "hip_rotate": (-8, 8), "knee": (6, 6), "ankle": (0, 4),
}  # fmt: skip
_FAMILIES: dict[str, tuple[float, dict[str, tuple[float, float]]]] = {
    "standing": (3, {}),
    "akimbo": (1, {"shoulder_flex": (-12, 8), "shoulder_abduct": (42, 8), "elbow": (95, 12),
                   "shoulder_rotate": (55, 10), "right_elbow": (60, 45)}),
    "gesturing": (2, {"left_shoulder_flex": (45, 30), "left_elbow": (85, 30),
                      "right_shoulder_flex": (35, 30), "right_elbow": (80, 35)}),
    "walking": (3, {"lean": (4, 3), "left_hip_flex": (26, 8), "right_hip_flex": (-12, 6),
                    "left_knee": (8, 6), "right_knee": (32, 14), "left_shoulder_flex": (-20, 8),
                    "right_shoulder_flex": (24, 10), "elbow": (28, 15), "hip_abduct": (2, 2),
                    "right_ankle": (-12, 6)}),
    "running": (2, {"lean": (12, 4), "left_hip_flex": (55, 15), "right_hip_flex": (-10, 8),
                    "left_knee": (60, 20), "right_knee": (45, 30), "elbow": (92, 12),
                    "left_shoulder_flex": (-35, 10), "right_shoulder_flex": (40, 12),
                    "hip_abduct": (3, 3)}),
    "sitting": (3, {"lean": (0, 5), "spine_bend": (6, 10), "hip_flex": (86, 6),
                    "hip_abduct": (13, 8), "knee": (84, 12), "shoulder_flex": (32, 16),
                    "elbow": (55, 25)}),
    "crouching": (2, {"lean": (16, 8), "spine_bend": (22, 12), "hip_flex": (98, 12),
                      "hip_abduct": (16, 9), "knee": (118, 14), "ankle": (14, 5),
                      "shoulder_flex": (48, 22), "elbow": (50, 30), "head_nod": (-12, 12)}),
    "cheering": (3, {"shoulder_flex": (120, 50), "shoulder_abduct": (50, 35),
                     "elbow": (45, 35), "head_nod": (-8, 12), "knee": (10, 10)}),
    "waving": (2, {"left_shoulder_flex": (70, 40), "left_shoulder_abduct": (95, 30),
                   "left_elbow": (70, 35), "head_turn": (15, 20)}),
    "spread": (2, {"shoulder_flex": (15, 25), "shoulder_abduct": (85, 14), "elbow": (18, 18),
                   "hip_abduct": (15, 10)}),
    "bending": (2, {"lean": (24, 8), "spine_bend": (45, 14), "hip_flex": (35, 15),
                    "knee": (25, 18), "shoulder_flex": (75, 25), "elbow": (25, 20),
                    "head_nod": (-15, 12)}),
    "leaning": (1, {"tilt": (8, 3), "spine_side": (14, 7), "left_hip_abduct": (14, 6),
                    "left_shoulder_abduct": (50, 30)}),
    "lunging": (2, {"lean": (8, 6), "left_hip_flex": (65, 14), "left_knee": (70, 16),
                    "right_hip_flex": (-14, 5), "right_knee": (28, 18), "right_ankle": (-20, 8),
                    "shoulder_flex": (50, 45), "shoulder_abduct": (30, 25), "elbow": (50, 35)}),
    "dancing": (4, {"spine_bend": (8, 14), "spine_side": (0, 13), "spine_twist": (0, 18),
                    "head_tilt": (0, 10), "shoulder_flex": (60, 60), "shoulder_abduct": (50, 45),
                    "shoulder_rotate": (10, 35), "elbow": (60, 40), "hip_flex": (24, 28),
                    "hip_abduct": (15, 11), "hip_rotate": (-8, 14), "knee": (35, 32),
                    "ankle": (-5, 12)}),
}  # fmt: skip
FAMILIES = tuple(_FAMILIES)
SITTING = FAMILIES.index("sitting")


def _table() -> tuple[np.ndarray, np.ndarray]:
    """Means and spreads of all families in radians, float32 [F, A] each."""

    def row(family: dict[str, tuple[float, float]]) -> list[tuple[float, float]]:
        angles = {**_STANDING, **family}
        return [angles.get(name, angles.get(name.partition("_")[2], (0, 0))) for name in ANGLES]

    table = np.radians([row(family) for _, family in _FAMILIES.values()]).astype(np.float32)
    return table[..., 0], table[..., 1]


_MEAN, _SPREAD = _table()
_FREQUENCY = np.array([weight for weight, _ in _FAMILIES.values()], np.float32)

# Mirroring exchanges left and right and turns what has a direction to the other side.
_MIRRORED_INDEX = np.array(
    [
        INDEX[
            name.replace("left_", "right_")
            if name.startswith("left_")
            else name.replace("right_", "left_")
        ]
        for name in ANGLES
    ]
)
_SIDEWAYS = ("tilt", "spine_side", "spine_twist", "head_turn", "head_tilt")
_MIRRORED_SIGN = np.array([-1.0 if name in _SIDEWAYS else 1.0 for name in ANGLES], np.float32)


def mirror_pose(angles: jax.Array) -> jax.Array:
    """The pose of a person's mirror image, float32 [A]."""
    return angles[_MIRRORED_INDEX] * _MIRRORED_SIGN


def sample_pose(key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Draws a pose.

    Returns:
        angles in radians, float32 [A], and the family's index in `FAMILIES`, int32.
    """
    dice = Dice(key, len(ANGLES) + 2)
    family = dice.choose(jnp.asarray(_FREQUENCY))
    noise = dice.normals(len(ANGLES))
    angles = jnp.asarray(_MEAN)[family] + jnp.asarray(_SPREAD)[family] * noise
    return limit_pose(jnp.where(dice.chance(0.5), mirror_pose(angles), angles)), family


def limit_pose(angles: jax.Array) -> jax.Array:
    """Angles moved into the joints' ranges, float32 [A]."""
    return jnp.clip(angles, LOWEST, HIGHEST)


def sample_heading(key: jax.Array) -> jax.Array:
    """Where a person faces: 0 the camera, pi away from it; half of the people roughly face it."""
    dice = Dice(key, 3)
    frontal, anywhere = 0.7 * dice.normal(), dice.uniform(-math.pi, math.pi)
    return jnp.where(dice.chance(0.5), frontal, anywhere)
