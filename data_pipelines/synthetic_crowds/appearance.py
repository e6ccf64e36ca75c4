"""Clothes, skin and hair: how the solids of a body are painted.

Colours are RGB in 0..1 as a screen shows them. Legend for shapes: M solids of a body.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.bodies import SOLID_NAMES
from data_pipelines.synthetic_crowds.dice import Dice
from data_pipelines.synthetic_crowds.primitives import Paint
from data_pipelines.synthetic_crowds.shapes import Dress

_SKIN = np.array(
    [[255, 224, 196], [241, 205, 175], [229, 184, 143], [208, 158, 116],
     [177, 124, 82], [141, 92, 58], [104, 66, 43], [74, 48, 35]], np.float32,
) / 255  # fmt: skip
_HAIR = np.array(
    [[22, 18, 16], [44, 30, 22], [78, 50, 30], [120, 78, 44], [176, 132, 74], [214, 184, 126],
     [128, 44, 24], [150, 148, 146], [205, 203, 200]], np.float32,
) / 255  # fmt: skip
_DENIM_TO_BLACK = np.array(
    [[38, 52, 88], [66, 86, 124], [28, 30, 36], [52, 54, 60], [92, 84, 70], [150, 132, 104],
     [70, 78, 60], [110, 112, 116]], np.float32,
) / 255  # fmt: skip


# Walls, plaster, wood, concrete, sky, grass, sand, water, asphalt: neighbours in this order.
_SURFACES = np.array(
    [[236, 232, 222], [206, 196, 178], [168, 128, 88], [112, 78, 52], [150, 148, 144],
     [196, 204, 212], [150, 190, 226], [206, 222, 236], [120, 150, 84], [84, 112, 62],
     [204, 184, 146], [96, 130, 150], [74, 78, 84], [40, 42, 48]], np.float32,
) / 255  # fmt: skip


def any_color(dice: Dice) -> jax.Array:
    """A colour of cloth or paint: any hue, more often muted than bright, float32 [3]; 3 rolls."""
    hue, saturation = dice.uniform(), 0.9 * dice.uniform() ** 1.5
    value = dice.uniform(0.12, 0.97)
    offsets = jnp.asarray([0.0, 1 / 3, 2 / 3], jnp.float32)
    ramp = jnp.clip(jnp.abs((hue + offsets) % 1.0 * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return value * (1.0 - saturation * (1.0 - ramp))


def _from_palette(dice: Dice, palette: np.ndarray) -> jax.Array:
    """A colour near two neighbours of a palette, float32 [3]; 4 rolls."""
    place = dice.uniform(0.0, len(palette) - 1.001)
    low = place.astype(jnp.int32)
    share = place - low.astype(jnp.float32)
    color = (1.0 - share) * jnp.asarray(palette)[low] + share * jnp.asarray(palette)[low + 1]
    return color * (0.95 + 0.1 * dice.uniforms(3))


def surface_color(dice: Dice) -> jax.Array:
    """A colour of buildings and landscapes, one time in six any colour, float32 [3]; 8 rolls."""
    natural = _from_palette(dice, _SURFACES)
    return jnp.where(dice.chance(0.17), any_color(dice), natural)


def skin_color(dice: Dice) -> jax.Array:
    """A skin tone, float32 [3]; 4 rolls."""
    return _from_palette(dice, _SKIN)


def sample_dress(key: jax.Array) -> Dress:
    """Draws the clothes' and hair's geometry."""
    dice = Dice(key, 11)
    return Dress(
        skirt=dice.sometimes(0.18, 0.45, 1.1),
        trouser_width=dice.uniform(0.9, 1.6),
        hair=0.02 + dice.sometimes(0.9, 0.07, 0.24),
        long_hair=dice.sometimes(0.36, 0.5, 1.9),
        brim=dice.sometimes(0.16, 0.9, 1.15),
        backpack=dice.sometimes(0.12, 0.85, 1.1),
    )


def sample_paint(key: jax.Array, dress: Dress, person: jax.Array, height: jax.Array) -> Paint:
    """Dresses a body.

    Args:
        key: random key.
        dress: the geometry of its clothes.
        person: int32 [], its index.
        height: float32 [], its height in pixels.

    Returns:
        Paint of the M solids.
    """
    dice = Dice(key, 60)
    skin, hair = skin_color(dice), _from_palette(dice, _HAIR)
    top, second = any_color(dice), any_color(dice)
    classic, colorful = _from_palette(dice, _DENIM_TO_BLACK), any_color(dice)
    bottom = jnp.where(dice.chance(0.6), classic, colorful)
    bottom = jnp.where((dress.skirt > 0) & dice.chance(0.6), top, bottom)  # one piece
    shoes = jnp.where(dice.chance(0.7), 0.6 * any_color(dice), skin)
    hat = jnp.where(dress.brim > 0, any_color(dice), hair)
    bald = dress.hair < 0.05
    beard = jnp.where(dice.chance(0.14), hair, skin)

    # Sleeves end somewhere on the upper arm, on the forearm, or at the wrist.
    sleeve = jnp.where(dice.chance(0.45), 1.95, dice.uniform(0.0, 2.0))
    trousers = jnp.where(dice.chance(0.28), dice.uniform(0.35, 1.0), 1.93)
    tights = jnp.where(dice.chance(0.7), 0.0, 1.95)
    leg = jnp.where(dress.skirt > 0, tights, trousers)

    painter = _Painter(person)
    for side in ("left", "right"):
        painter.paint(f"{side}_upper_arm", top, skin, jnp.minimum(sleeve, 1.01), woven=True)
        painter.paint(f"{side}_forearm", top, skin, sleeve - 1.0, woven=True)
        painter.paint(f"{side}_thigh", bottom, skin, jnp.minimum(leg, 1.01))
        painter.paint(f"{side}_shin", bottom, skin, leg - 1.0)
        painter.paint(f"{side}_foot", shoes)
    _paint_skin(painter, skin, hair)
    collar = jnp.where(dice.chance(0.3), top, skin)
    painter.paint("neck", collar, skin, jnp.float32(0.6))
    painter.paint("chest", top, woven=True)
    painter.paint("abdomen", top, bottom, dice.uniform(0.25, 0.75), woven=True)
    painter.paint("skirt", bottom, bottom, jnp.float32(0.995), rest_alpha=0.0)
    painter.paint("backpack", any_color(dice))
    painter.paint("head", skin, beard, jnp.float32(0.72))
    painter.paint("hair", jnp.where(bald, skin, hat))
    painter.paint("long_hair", hair)
    painter.paint("brim", hat * 0.85)

    stripes = _sample_stripes(dice) / height
    return painter.finish(second, stripes, rough=dice.uniform(0.02, 0.1))


def _sample_stripes(dice: Dice) -> jax.Array:
    """Of a person's height: around the body, along it, both (checks), or, one time in three, none.

    float32 [2]; 3 rolls.
    """
    striped = jnp.stack([dice.chance(0.42), dice.chance(0.42)])
    return jnp.where(striped, dice.uniform(14.0, 45.0), 0.0)


def _paint_skin(painter: _Painter, skin: jax.Array, hair: jax.Array) -> None:
    """Hands and the face's features."""
    for side in ("left", "right"):
        painter.paint(f"{side}_hand", skin)
        painter.paint(f"{side}_ear", skin * 0.95)
        painter.paint(f"{side}_eye", jnp.asarray([0.12, 0.09, 0.08], jnp.float32))
        painter.paint(f"{side}_brow", 0.7 * hair + 0.1 * skin)
    painter.paint("nose", skin * 1.03)
    painter.paint("mouth", skin * jnp.asarray([0.78, 0.45, 0.45], jnp.float32))


class _Painter:
    """Collects the looks of a body's solids by name."""

    def __init__(self, person: jax.Array) -> None:
        self.person = person
        self.looks: dict[str, tuple[jax.Array, jax.Array, jax.Array, float, bool]] = {}

    def paint(
        self,
        name: str,
        color: jax.Array,
        rest: jax.Array | None = None,
        split: jax.Array | None = None,
        *,
        rest_alpha: float = 1.0,
        woven: bool = False,
    ) -> None:
        rest = color if rest is None else rest
        split = jnp.float32(1.01) if split is None else split
        self.looks[name] = (color, rest, split, rest_alpha, woven)

    def finish(self, second: jax.Array, stripes: jax.Array, rough: jax.Array) -> Paint:
        looks = [self.looks[name] for name in SOLID_NAMES]
        count = len(looks)
        woven = jnp.asarray([look[4] for look in looks], jnp.float32)
        ones = jnp.ones(count, jnp.float32)
        return Paint(
            color=jnp.stack([look[0] for look in looks]),
            second_color=jnp.broadcast_to(second[None], (count, 3)),
            rest_color=jnp.stack([look[1] for look in looks]),
            split=jnp.stack([look[2] for look in looks]),
            alpha=ones,
            rest_alpha=jnp.asarray([look[3] for look in looks], jnp.float32),
            stripes=woven[:, None] * stripes[None],
            soft=ones,
            flat=0.0 * ones,
            gloss=ones,
            rough=rough * ones,
            owner=jnp.broadcast_to(self.person, (count,)),
        )
