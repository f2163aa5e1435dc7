"""Colours, light, and the few drawing tools that backdrop and things share. Everything is drawn on a CANVAS twice the
size of the picture; the reduction at the end smooths the edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["CANVAS", "LIGHTS", "Light", "Rgb", "gradient", "mix", "paint", "soft_disc"]

Rgb = tuple[int, int, int]
CANVAS = (384, 288)

THING_COLOURS: dict[str, Rgb] = {
    "red": (214, 40, 44),
    "blue": (38, 92, 214),
    "yellow": (250, 208, 40),
    "green": (36, 158, 66),
    "white": (250, 250, 248),
    "purple": (140, 56, 178),
}


def mix(a: Rgb, b: Rgb, share: float) -> Rgb:
    """a with `share` (0 to 1) of b in it."""
    return (
        round(a[0] + (b[0] - a[0]) * share),
        round(a[1] + (b[1] - a[1]) * share),
        round(a[2] + (b[2] - a[2]) * share),
    )


@dataclass(frozen=True, slots=True)
class Light:
    """What a time of day does to colours: the sky's gradient from top to horizon, and a tint for the land.

    Things take only a third of the tint: a red house at night must still be a red house to who looks at it.
    """

    sky: tuple[Rgb, ...]
    tint: Rgb
    strength: float
    haze: Rgb

    def land(self, colour: Rgb) -> Rgb:
        return mix(colour, self.tint, self.strength)

    def thing(self, colour: Rgb) -> Rgb:
        return mix(colour, self.tint, self.strength / 3)


LIGHTS: dict[str, Light] = {
    "noon": Light(((52, 132, 222), (120, 186, 240), (206, 234, 250)), (255, 250, 230), 0.04, (214, 232, 244)),
    "sunset": Light(
        ((88, 54, 128), (214, 84, 98), (252, 150, 70), (255, 214, 120)), (150, 58, 60), 0.36, (240, 150, 110)
    ),
    "moon": Light(((12, 18, 52), (28, 44, 96), (64, 88, 150)), (16, 26, 74), 0.60, (60, 80, 136)),
    "stars": Light(((8, 8, 30), (20, 16, 58), (52, 34, 92)), (14, 12, 46), 0.66, (44, 34, 84)),
    "storm": Light(((44, 50, 62), (70, 78, 92), (112, 120, 130)), (48, 56, 68), 0.46, (104, 112, 122)),
    "fog": Light(((196, 202, 206), (212, 216, 218), (224, 227, 228)), (206, 211, 214), 0.46, (222, 226, 228)),
}


def gradient(stops: tuple[Rgb, ...], width: int, height: int) -> Image.Image:
    """A vertical gradient through evenly spaced stops."""
    at = np.linspace(0, len(stops) - 1, height)
    rows = np.stack([np.interp(at, np.arange(len(stops)), [s[c] for s in stops]) for c in range(3)], axis=-1)
    return Image.fromarray(rows.round().astype(np.uint8)[:, None, :]).resize((width, height), Image.Resampling.NEAREST)


@lru_cache(maxsize=64)
def _disc_mask(radius: int, strength: int) -> Image.Image:
    axis = np.linspace(-1, 1, 2 * radius)
    distance = np.sqrt(axis[:, None] ** 2 + axis[None, :] ** 2)
    return Image.fromarray((np.clip(1 - distance, 0, 1) ** 1.6 * strength).astype(np.uint8))


def soft_disc(picture: Image.Image, x: float, y: float, radius: int, colour: Rgb, strength: int = 200) -> None:
    """A glow: strongest (0 to 255) in the middle, nothing at the radius."""
    picture.paste(colour, (round(x) - radius, round(y) - radius), _disc_mask(radius, strength))


def paint(picture: Image.Image) -> ImageDraw.ImageDraw:
    """A pen on the picture."""
    return ImageDraw.Draw(picture)
