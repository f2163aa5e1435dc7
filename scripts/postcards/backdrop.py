"""Draws sky and land. What only the seed decides (where clouds hang) is an accident, not specification."""

from __future__ import annotations

import math
from random import Random

from PIL import Image

from scripts.postcards.palette import CANVAS, Light, Rgb, gradient, mix, paint, soft_disc

__all__ = ["HORIZON", "WATERLINE", "draw_fog", "draw_land", "draw_rain", "draw_sky"]

W, H = CANVAS
HORIZON = 158
SHORE = 226
WATERLINE = 208
"""Where boats float: the sea and every lake fill HORIZON (or a little below) to SHORE."""


def draw_sky(picture: Image.Image, rng: Random, time: str, light: Light, free_slots: list[int]) -> None:
    """Sky, and what lights it. Sun and moon stand in a third of the sky that no balloon takes, if there is one."""
    picture.paste(gradient(light.sky, W, HORIZON + 30), (0, 0))
    x = 64 + 128 * rng.choice(free_slots or [0, 1, 2]) + rng.randint(-26, 26)
    if time == "noon":
        y = rng.randint(30, 58)
        soft_disc(picture, x, y, 84, (255, 252, 214), 190)
        _disc(picture, x, y, 21, (255, 246, 176))
        _clouds(picture, rng, rng.randint(2, 4), (255, 255, 255), (20, 105))
    elif time == "sunset":
        y = rng.randint(96, 118)
        soft_disc(picture, x, y, 170, (255, 226, 120), 215)
        _disc(picture, x, y, 27, (255, 242, 178))
        _streaks(picture, rng, mix(light.sky[1], (255, 190, 170), 0.35))
    elif time == "moon":
        _stars(picture, rng, 9)
        y = rng.randint(38, 62)
        soft_disc(picture, x, y, 92, (196, 208, 244), 150)
        _disc(picture, x, y, 25, (246, 244, 222))
        for dx, dy, r in ((-8, -5, 5), (7, 6, 4), (3, -11, 3)):
            _disc(picture, x + dx, y + dy, r, (224, 222, 202))
    elif time == "stars":
        for i in range(14):
            soft_disc(picture, 30 + i * 25 + rng.randint(-12, 12), 120 - i * 7, 36, (120, 104, 190), 60)
        _stars(picture, rng, 110)
    elif time == "storm":
        _clouds(picture, rng, 6, (52, 57, 68), (4, 58), spread=1.7)
        _clouds(picture, rng, 3, (80, 86, 98), (4, 40), spread=1.5)
        for _ in range(rng.randint(1, 2)):
            _lightning(picture, rng, x + rng.randint(-30, 30))
            x = (x + 150) % W
    else:
        soft_disc(picture, x, 50, 60, (246, 246, 240), 130)


def draw_land(picture: Image.Image, rng: Random, land: str, light: Light, time: str, has_water: bool) -> None:
    """Land from the horizon down, and the lake or sea on which boats float."""
    draw = {
        "mountains": _mountains,
        "sea": _sea,
        "desert": _desert,
        "forest": _forest,
        "fields": _fields,
        "city": _city,
        "snow": _snow,
    }[land]
    draw(picture, rng, light, time)
    if has_water and land != "sea":
        _lake(picture, rng, light, time)


def draw_fog(picture: Image.Image, rng: Random) -> None:
    """Mist over sky and land. Things are drawn after it, and so stand out of it."""
    for _ in range(8):
        y = rng.randint(70, 235)
        soft_disc(picture, rng.randint(0, W), y, rng.randint(60, 120), (232, 235, 236), 165)
    veil = Image.new("RGB", CANVAS, (222, 226, 228))
    picture.paste(Image.blend(picture, veil, 0.26))


def draw_rain(picture: Image.Image, rng: Random) -> None:
    """Slanting rain over everything, thin enough to see colours through."""
    pen = paint(picture)
    for _ in range(70):
        x, y, length = rng.randint(0, W), rng.randint(-10, H), rng.randint(10, 20)
        pen.line((x, y, x - length * 0.35, y + length), fill=(150, 162, 176), width=1)


def _disc(picture: Image.Image, x: float, y: float, r: float, colour: Rgb) -> None:
    paint(picture).ellipse((x - r, y - r, x + r, y + r), fill=colour)


def _stars(picture: Image.Image, rng: Random, count: int) -> None:
    pen = paint(picture)
    for _ in range(count):
        x, y, r = rng.uniform(0, W), rng.uniform(0, HORIZON - 20), rng.choice((1.0, 1.2, 1.6, 2.4))
        shade = rng.randint(190, 255)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(shade, shade, min(255, shade + 10)))


def _clouds(
    picture: Image.Image, rng: Random, count: int, colour: Rgb, heights: tuple[int, int], spread: float = 1.0
) -> None:
    pen = paint(picture)
    for _ in range(count):
        x, y = rng.randint(0, W), rng.randint(*heights)
        for _ in range(5):
            dx, r = rng.uniform(-34, 34) * spread, rng.uniform(8, 15) * spread
            pen.ellipse((x + dx - r * 1.4, y - r * 0.8, x + dx + r * 1.4, y + r * 0.8), fill=colour)
        pen.rounded_rectangle((x - 44 * spread, y, x + 44 * spread, y + 12 * spread), 6, fill=colour)


def _streaks(picture: Image.Image, rng: Random, colour: Rgb) -> None:
    pen = paint(picture)
    for _ in range(rng.randint(3, 6)):
        x, y, length = rng.randint(-20, W), rng.randint(22, 100), rng.randint(50, 130)
        pen.rounded_rectangle((x, y, x + length, y + 5), 3, fill=colour)


def _lightning(picture: Image.Image, rng: Random, x: float) -> None:
    points = [(x, 34.0)]
    for _ in range(5):
        points.append((points[-1][0] + rng.uniform(-20, 20), points[-1][1] + rng.uniform(15, 25)))
    pen = paint(picture)
    pen.line(points, fill=(206, 200, 255), width=8, joint="curve")
    pen.line(points, fill=(255, 253, 226), width=4, joint="curve")


def _wave(rng: Random, y: float, height: float, bottom: float = H) -> list[tuple[float, float]]:
    """A polygon under a line of two sine waves."""
    a, b = rng.uniform(0, 6.3), rng.uniform(0, 6.3)
    f, g = rng.uniform(0.8, 1.6), rng.uniform(2.0, 3.4)
    line = [
        (float(x), y + height * (0.7 * math.sin(a + f * x / 61) + 0.3 * math.sin(b + g * x / 61)))
        for x in range(0, W + 16, 16)
    ]
    return [*line, (W + 16.0, bottom), (0.0, bottom)]


def _mountains(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    for layer, (base, top, colour) in enumerate(
        ((HORIZON + 16, 52, (124, 138, 168)), (HORIZON + 30, 92, (86, 104, 132)), (HORIZON + 44, 130, (70, 98, 84)))
    ):
        shade = mix(light.land(colour), light.haze, 0.34 - 0.15 * layer)
        x = rng.uniform(-90, -30)
        while x < W:
            width, peak = rng.uniform(110, 180), top + rng.uniform(-16, 16)
            mid = x + width * rng.uniform(0.42, 0.58)
            pen.polygon(((x - 20, base), (mid, peak), (x + width + 20, base)), fill=shade)
            pen.polygon(((mid, peak), (x + width + 20, base), (mid + 14, base)), fill=mix(shade, (0, 0, 0), 0.12))
            if layer < 2:
                cap = (base - peak) * (0.34 - 0.08 * layer)
                left, right = (mid - x + 20) * cap / (base - peak), (x + width + 20 - mid) * cap / (base - peak)
                snow = mix(light.land((250, 252, 255)), light.haze, 0.12)
                zigzag = (
                    (mid, peak), (mid + right, peak + cap), (mid + right * 0.35, peak + cap * 0.72),
                    (mid, peak + cap * 1.12), (mid - left * 0.4, peak + cap * 0.7), (mid - left, peak + cap),
                )  # fmt: skip
                pen.polygon(zigzag, fill=snow)
            x += width * rng.uniform(0.6, 0.85)
    pen.polygon(_wave(rng, HORIZON + 34, 6), fill=light.land((112, 150, 84)))
    pen.polygon(_wave(rng, SHORE, 4), fill=light.land((92, 134, 70)))


def _water(picture: Image.Image, rng: Random, light: Light, time: str, top: int, bottom: int) -> None:
    """Water mirrors the sky, darker: a gradient and short bright strokes."""
    near, far = light.land((30, 104, 158)), mix(light.land((60, 140, 186)), light.sky[-1], 0.45)
    if time == "sunset":
        near, far = (96, 62, 124), (248, 168, 116)
    picture.paste(gradient((far, near), W, bottom - top), (0, top))
    pen = paint(picture)
    bright = mix(near, {"sunset": (255, 214, 140), "moon": (226, 230, 244)}.get(time, (255, 255, 255)), 0.5)
    for _ in range(34):
        y = rng.randint(top + 3, bottom - 4)
        length = 5 + (y - top) * 0.32
        x = rng.randint(-10, W)
        pen.line((x, y, x + length, y), fill=bright, width=2)


def _sea(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    _water(picture, rng, light, time, HORIZON - 14, H)
    pen = paint(picture)
    pen.polygon(_wave(rng, SHORE - 5, 5), fill=mix(light.land((255, 255, 255)), light.land((60, 140, 186)), 0.25))
    pen.polygon(_wave(rng, SHORE + 2, 5), fill=light.land((238, 214, 158)))
    for _ in range(18):
        x, y = rng.randint(0, W), rng.randint(SHORE + 16, H)
        pen.ellipse((x, y, x + 4, y + 2), fill=light.land((212, 184, 124)))


def _lake(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    """A lake between the land behind and the bank in front."""
    top = WATERLINE - 28
    bank = picture.crop((0, SHORE + 4, W, H))
    _water(picture, rng, light, time, top, SHORE + 8)
    shore = picture.getpixel((4, H - 20))
    assert isinstance(shore, tuple)
    red, green, blue = shore
    edge = mix((red, green, blue), (40, 40, 40), 0.15)
    pen = paint(picture)
    pen.polygon(_wave(rng, SHORE + 2, 3), fill=edge)
    picture.paste(bank.crop((0, 8, W, bank.height)), (0, SHORE + 12))


def _desert(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    for y, height, colour in (
        (HORIZON - 10, 14, (226, 174, 104)),
        (HORIZON + 20, 13, (236, 188, 112)),
        (SHORE - 14, 9, (244, 204, 130)),
    ):
        dune = _wave(rng, y, height)
        pen.polygon(dune, fill=light.land(colour))
        pen.line(dune[:-2], fill=light.land(mix(colour, (255, 255, 255), 0.35)), width=3)
    for _ in range(rng.randint(2, 4)):
        x, y, s = rng.randint(10, W - 10), rng.randint(HORIZON + 22, SHORE - 8), rng.uniform(0.7, 1.1)
        green = light.land((62, 120, 70))
        pen.rounded_rectangle((x - 4 * s, y - 44 * s, x + 4 * s, y), 4 * s, fill=green)
        for side in (-1, 1):
            bend = y - (18 + 6 * side) * s
            pen.line(
                ((x, bend), (x + side * 13 * s, bend), (x + side * 13 * s, bend - 15 * s)),
                fill=green,
                width=round(6 * s),
            )


def _conifer(picture: Image.Image, x: float, base: float, height: float, leaf: Rgb, snow: Rgb | None = None) -> None:
    pen = paint(picture)
    pen.rectangle((x - 2, base - height * 0.2, x + 2, base), fill=mix(leaf, (60, 36, 20), 0.7))
    for tier in range(3):
        y, half = base - height * (0.14 + 0.26 * tier), height * (0.27 - 0.06 * tier)
        top = y - height * 0.36
        pen.polygon(((x - half, y), (x, top), (x + half, y)), fill=leaf)
        if snow is not None:
            pen.polygon(((x - half * 0.5, y - height * 0.18), (x, top), (x + half * 0.5, y - height * 0.18)), fill=snow)


def _forest(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    pen.polygon(_wave(rng, HORIZON - 6, 6), fill=mix(light.land((64, 104, 78)), light.haze, 0.3))
    for row, (base, size, leaf) in enumerate(((HORIZON + 16, 62, (66, 116, 80)), (HORIZON + 40, 92, (34, 84, 52)))):
        shade = mix(light.land(leaf), light.haze, 0.24 - 0.16 * row)
        x = rng.uniform(-12, 6)
        while x < W + 12:
            _conifer(
                picture,
                x,
                base + rng.uniform(-3, 3),
                size * rng.uniform(0.8, 1.2),
                mix(shade, (0, 0, 0), rng.uniform(0, 0.14)),
            )
            x += rng.uniform(17, 25)
    pen.polygon(_wave(rng, HORIZON + 38, 3), fill=light.land((58, 96, 52)))
    pen.polygon(_wave(rng, SHORE, 4), fill=light.land((72, 108, 56)))


def _fields(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    pen.polygon(_wave(rng, HORIZON - 8, 9), fill=mix(light.land((128, 172, 92)), light.haze, 0.25))
    for y, colour in ((HORIZON + 8, (226, 200, 92)), (HORIZON + 24, (150, 186, 84)), (HORIZON + 42, (214, 186, 84))):
        pen.polygon(_wave(rng, y, 5), fill=light.land(colour))
    top, bottom, vanish = SHORE - 12, H, rng.uniform(120, 264)
    pen.polygon(_wave(rng, top, 3), fill=light.land((140, 182, 78)))
    for i in range(-9, 10):
        x = vanish + i * 62
        pen.line(((vanish + i * 17, top + 8), (x, bottom)), fill=light.land((112, 156, 62)), width=5)
    for _ in range(rng.randint(3, 5)):
        x, y, r = rng.randint(0, W), HORIZON + rng.randint(-6, 30), rng.uniform(6, 10)
        pen.ellipse((x - r * 1.2, y - r * 1.5, x + r * 1.2, y), fill=light.land((78, 128, 62)))


def _city(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    lit = time in ("moon", "stars", "sunset", "storm")
    for row, (low, high, wall) in enumerate(((64, 128, (146, 154, 172)), (44, 96, (104, 112, 134)))):
        x = rng.uniform(-14, 0)
        while x < W:
            width, height = rng.randint(26, 44), rng.randint(low, high)
            top, shade = HORIZON + 34 - height, mix(light.land(wall), light.haze, 0.26 - 0.2 * row)
            shade = mix(shade, (0, 0, 0), rng.uniform(0, 0.16))
            pen.rectangle((x, top, x + width, HORIZON + 44), fill=shade)
            if rng.random() < 0.25:
                pen.line((x + width / 2, top - 14, x + width / 2, top), fill=shade, width=3)
            for wy in range(top + 7, HORIZON + 28, 12):
                for wx in range(round(x) + 5, round(x) + width - 7, 9):
                    if rng.random() < 0.62:
                        pen.rectangle(
                            (wx, wy, wx + 4, wy + 6), fill=(255, 220, 130) if lit else mix(shade, (232, 244, 255), 0.5)
                        )
            x += width + rng.randint(0, 5)
    pen.rectangle((0, HORIZON + 38, W, H), fill=light.land((152, 152, 156)))
    pen.rectangle((0, HORIZON + 38, W, HORIZON + 44), fill=light.land((190, 190, 192)))
    pen.rectangle((0, SHORE + 12, W, H), fill=light.land((94, 96, 104)))
    pen.rectangle((0, SHORE + 8, W, SHORE + 14), fill=light.land((186, 186, 188)))
    for x in range(rng.randint(-40, 0), W, 64):
        pen.rectangle((x, H - 14, x + 30, H - 10), fill=light.land((236, 230, 196)))


def _snow(picture: Image.Image, rng: Random, light: Light, time: str) -> None:
    pen = paint(picture)
    snow = (244, 249, 255)
    pen.polygon(_wave(rng, HORIZON - 14, 12), fill=mix(light.land((206, 222, 240)), light.haze, 0.2))
    pen.polygon(_wave(rng, HORIZON + 12, 10), fill=light.land((222, 234, 248)))
    for _ in range(rng.randint(5, 8)):
        _conifer(
            picture,
            rng.uniform(0, W),
            HORIZON + rng.uniform(14, 40),
            rng.uniform(40, 62),
            light.land((70, 110, 104)),
            light.land(snow),
        )
    pen.polygon(_wave(rng, HORIZON + 38, 6), fill=light.land((234, 243, 252)))
    pen.polygon(_wave(rng, SHORE + 2, 4), fill=light.land(snow))
    for _ in range(60):
        x, y, r = rng.uniform(0, W), rng.uniform(0, H), rng.uniform(1.5, 2.6)
        pen.ellipse((x - r, y - r, x + r, y + r), fill=(255, 255, 255))
