"""Clothes, skin and hair: how the solids of a body are painted.

Colours are RGB in 0..1 as a screen shows them. Legend for shapes: M solids of a body.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from data_pipelines.synthetic_crowds.bodies import SOLID_NAMES, Dress
from data_pipelines.synthetic_crowds.primitives import Paint

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


def any_color(key: jax.Array) -> jax.Array:
    """A colour of cloth or paint: any hue, more often muted than bright, float32 [3]."""
    hue_key, saturation_key, value_key = jax.random.split(key, 3)
    hue = jax.random.uniform(hue_key)
    saturation = jax.random.uniform(saturation_key) ** 1.5 * 0.9
    value = 0.12 + 0.85 * jax.random.uniform(value_key)
    offsets = jnp.asarray([0.0, 1 / 3, 2 / 3], jnp.float32)
    ramp = jnp.clip(jnp.abs((hue + offsets) % 1.0 * 6.0 - 3.0) - 1.0, 0.0, 1.0)
    return value * (1.0 - saturation * (1.0 - ramp))


def _from_palette(key: jax.Array, palette: np.ndarray) -> jax.Array:
    """A colour near two neighbours of a palette, float32 [3]."""
    index_key, jitter_key = jax.random.split(key)
    place = jax.random.uniform(index_key, maxval=len(palette) - 1.001)
    low = place.astype(jnp.int32)
    share = place - low.astype(jnp.float32)
    color = (1.0 - share) * jnp.asarray(palette)[low] + share * jnp.asarray(palette)[low + 1]
    return color * jax.random.uniform(jitter_key, (3,), minval=0.95, maxval=1.05)


def surface_color(key: jax.Array) -> jax.Array:
    """A colour of buildings and landscapes, one time in six any colour, float32 [3]."""
    palette_key, any_key, choice_key = jax.random.split(key, 3)
    natural = _from_palette(palette_key, _SURFACES)
    return jnp.where(jax.random.bernoulli(choice_key, 0.17), any_color(any_key), natural)


def skin_color(key: jax.Array) -> jax.Array:
    """A skin tone, float32 [3]."""
    return _from_palette(key, _SKIN)


def sample_dress(key: jax.Array) -> Dress:
    """Draws the clothes' and hair's geometry."""
    keys = jax.random.split(key, 10)

    def sometimes(index: int, probability: float, low: float, high: float) -> jax.Array:
        size = jax.random.uniform(keys[index], minval=low, maxval=high)
        return jnp.where(jax.random.bernoulli(keys[index + 1], probability), size, 0.0)

    return Dress(
        skirt=sometimes(0, 0.18, 0.45, 1.1),
        trouser_width=jax.random.uniform(keys[8], minval=0.9, maxval=1.6),
        hair=0.02 + sometimes(2, 0.9, 0.07, 0.24),
        long_hair=sometimes(4, 0.36, 0.5, 1.9),
        brim=sometimes(6, 0.16, 0.9, 1.15),
        backpack=jnp.where(jax.random.bernoulli(keys[9], 0.12), 1.0, 0.0),
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
    k = dict(zip(_DRAWS, jax.random.split(key, len(_DRAWS)), strict=True))
    uniform = jax.random.uniform
    skin, hair = skin_color(k["skin"]), _from_palette(k["hair"], _HAIR)
    top, second = any_color(k["top"]), any_color(k["second"])
    classic = jax.random.bernoulli(k["classic"], 0.6)
    bottom = jnp.where(classic, _from_palette(k["bottom"], _DENIM_TO_BLACK), any_color(k["bottom"]))
    one_piece = (dress.skirt > 0) & jax.random.bernoulli(k["one_piece"], 0.6)
    bottom = jnp.where(one_piece, top, bottom)
    shoes = jnp.where(jax.random.bernoulli(k["shoes"], 0.7), any_color(k["shoe_color"]) * 0.6, skin)
    hat = jnp.where(dress.brim > 0, any_color(k["hat"]), hair)
    bald = dress.hair < 0.05
    beard = jnp.where(jax.random.bernoulli(k["beard"], 0.14), hair, skin)

    # Sleeves end somewhere on the upper arm, on the forearm, or at the wrist.
    sleeve = 2.0 * uniform(k["sleeve"])
    sleeve = jnp.where(jax.random.bernoulli(k["long_sleeve"], 0.45), 1.95, sleeve)
    shorts = jax.random.bernoulli(k["shorts"], 0.28)
    leg = jnp.where(shorts, 0.35 + 0.65 * uniform(k["leg"]), 1.93)
    bare = jax.random.bernoulli(k["bare"], 0.7)
    leg = jnp.where(dress.skirt > 0, jnp.where(bare, 0.0, 1.95), leg)

    painter = _Painter(person)
    for side in ("left", "right"):
        painter.paint(f"{side}_upper_arm", top, skin, jnp.minimum(sleeve, 1.01), woven=True)
        painter.paint(f"{side}_forearm", top, skin, sleeve - 1.0, woven=True)
        painter.paint(f"{side}_hand", skin)
        painter.paint(f"{side}_thigh", bottom, skin, jnp.minimum(leg, 1.01))
        painter.paint(f"{side}_shin", bottom, skin, leg - 1.0)
        painter.paint(f"{side}_foot", shoes)
        painter.paint(f"{side}_ear", skin * 0.95)
        painter.paint(f"{side}_eye", jnp.asarray([0.12, 0.09, 0.08], jnp.float32))
        painter.paint(f"{side}_brow", 0.7 * hair + 0.1 * skin)
    collar = jnp.where(jax.random.bernoulli(k["collar"], 0.3), top, skin)
    painter.paint("neck", collar, skin, jnp.float32(0.6))
    painter.paint("chest", top, woven=True)
    painter.paint("abdomen", top, bottom, 0.25 + 0.5 * uniform(k["waist"]), woven=True)
    painter.paint("skirt", bottom, bottom, jnp.float32(0.995), rest_alpha=0.0)
    painter.paint("backpack", any_color(k["backpack"]))
    painter.paint("head", skin, beard, jnp.float32(0.72))
    painter.paint("hair", jnp.where(bald, skin, hat))
    painter.paint("long_hair", hair)
    painter.paint("brim", hat * 0.85)
    painter.paint("nose", skin * 1.03)
    painter.paint("mouth", skin * jnp.asarray([0.78, 0.45, 0.45], jnp.float32))

    # Stripes around the body, along it, both (checks), or, for one shirt in three, none.
    striped = jax.random.bernoulli(k["striped"], 0.42, (2,))
    stripes = jnp.where(striped, uniform(k["period"], minval=14.0, maxval=45.0) / height, 0.0)
    return painter.finish(second, stripes, rough=uniform(k["rough"], minval=0.02, maxval=0.1))


_DRAWS = (
    "skin", "hair", "top", "second", "classic", "bottom", "one_piece", "shoes", "shoe_color",
    "hat", "beard", "sleeve", "long_sleeve", "shorts", "leg", "bare", "collar", "waist",
    "backpack", "striped", "period", "rough",
)  # fmt: skip


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
