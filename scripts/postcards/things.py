"""Draws the things that stand, float and fly: each function draws one, its foot (in the sky its centre) at x, y."""

from __future__ import annotations

import math
from collections.abc import Callable
from random import Random

from PIL import Image, ImageDraw

from scripts.postcards.backdrop import WATERLINE
from scripts.postcards.palette import CANVAS, THING_COLOURS, Light, Rgb, mix, paint
from scripts.postcards.scene import KINDS, NIGHT, Scene, Thing

__all__ = ["draw_things"]

GROUND = 268
SKY_CENTRE = 62
_SCALE = {"small": 0.62, "big": 1.2, None: 1.0}
_GROUP_SCALE = {2: 0.8, 3: 0.66}
_BLACK: Rgb = (24, 22, 30)

Pen = ImageDraw.ImageDraw


def draw_things(
    picture: Image.Image, rng: Random, scene: Scene, light: Light, without: frozenset[str] = frozenset()
) -> None:
    """All things of a scene, sky first, then water, then ground.

    What is left out is drawn onto another picture, so that the random numbers of the others stay.
    """
    order = ("sky", "water", "ground")
    for thing in sorted(scene.things, key=lambda t: order.index(KINDS[t.kind].layer)):
        onto = Image.new("RGB", CANVAS) if thing.kind in without else picture
        _draw_group(onto, rng, thing, light, scene.time in NIGHT)


def _draw_group(picture: Image.Image, rng: Random, thing: Thing, light: Light, dark: bool) -> None:
    layer = KINDS[thing.kind].layer
    y = {"sky": SKY_CENTRE, "water": WATERLINE, "ground": GROUND}[layer]
    third = CANVAS[0] / 3
    left, right = thing.slots[0] * third, (thing.slots[-1] + 1) * third
    scale = _SCALE[thing.size] * _GROUP_SCALE.get(thing.count, 1.0)
    colour = light.thing(THING_COLOURS[thing.colour] if thing.colour else _BLACK)
    pen, draw = paint(picture), _DRAW[thing.kind]
    members = max(thing.count, 1)
    for i in range(members):
        x = left + (right - left) * (i + 0.5) / members + rng.uniform(-10, 10) / members
        jitter = rng.uniform(-9, 9) if layer == "sky" else rng.uniform(-4, 4)
        if layer == "sky" and members > 1:
            jitter += 12 * (i % 2) - 6
        draw(pen, rng, x, y + jitter, scale * rng.uniform(0.95, 1.05), colour, light, dark)


def _dim(colour: Rgb, share: float = 0.25) -> Rgb:
    return mix(colour, (0, 0, 0), share)


def _glow(light: Light, dark: bool) -> Rgb:
    """Windows: lit at night."""
    return (255, 226, 130) if dark else light.thing((92, 122, 150))


def _house(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    w, h, roof = 39 * s, 50 * s, light.thing((92, 62, 54))
    p.rectangle((x + w * 0.42, y - h - 40 * s, x + w * 0.66, y - h - 6 * s), fill=_dim(roof))
    p.rectangle((x - w, y - h, x + w, y), fill=c)
    p.rectangle((x + w * 0.72, y - h, x + w, y), fill=_dim(c, 0.12))
    p.polygon(
        ((x - w - 9 * s, y - h), (x - w * 0.5, y - h - 34 * s), (x + w * 0.5, y - h - 34 * s), (x + w + 9 * s, y - h)),
        fill=roof,
    )
    p.rectangle((x - 8 * s, y - 28 * s, x + 8 * s, y), fill=light.thing((70, 50, 44)))
    for side in (-1, 1):
        wx = x + side * 23 * s
        p.rectangle((wx - 8 * s, y - 41 * s, wx + 8 * s, y - 25 * s), fill=light.thing((248, 246, 240)))
        p.rectangle((wx - 6 * s, y - 39 * s, wx + 6 * s, y - 27 * s), fill=_glow(light, dark))


def _tent(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    w, h = 50 * s, 66 * s
    p.polygon(((x - w, y), (x, y - h), (x + w, y)), fill=c)
    p.polygon(((x + w * 0.3, y), (x, y - h), (x + w, y)), fill=_dim(c, 0.16))
    p.polygon(((x - 15 * s, y), (x, y - h * 0.62), (x + 15 * s, y)), fill=(255, 214, 120) if dark else _dim(c, 0.7))
    p.line(
        ((x - 7 * s, y - h - 7 * s), (x + 3 * s, y - h + 4 * s)),
        fill=light.thing((120, 90, 60)),
        width=max(2, round(3 * s)),
    )
    p.line(
        ((x + 7 * s, y - h - 7 * s), (x - 3 * s, y - h + 4 * s)),
        fill=light.thing((120, 90, 60)),
        width=max(2, round(3 * s)),
    )


def _car(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    w = 52 * s
    p.polygon(
        ((x - w * 0.62, y - 28 * s), (x - w * 0.36, y - 52 * s), (x + w * 0.3, y - 52 * s), (x + w * 0.6, y - 28 * s)),
        fill=c,
    )
    p.rounded_rectangle((x - w, y - 32 * s, x + w, y - 9 * s), 8 * s, fill=c)
    p.rectangle((x - w + 6 * s, y - 16 * s, x + w - 6 * s, y - 9 * s), fill=_dim(c, 0.2))
    glass = _glow(light, dark)
    p.polygon(
        ((x - w * 0.46, y - 31 * s), (x - w * 0.3, y - 47 * s), (x - 3 * s, y - 47 * s), (x - 3 * s, y - 31 * s)),
        fill=glass,
    )
    p.polygon(
        ((x + 3 * s, y - 31 * s), (x + 3 * s, y - 47 * s), (x + w * 0.26, y - 47 * s), (x + w * 0.46, y - 31 * s)),
        fill=glass,
    )
    p.ellipse((x + w - 9 * s, y - 27 * s, x + w - 2 * s, y - 20 * s), fill=(255, 244, 190))
    for wheel in (-0.56, 0.56):
        wx = x + w * wheel
        p.ellipse((wx - 12 * s, y - 22 * s, wx + 12 * s, y + 2 * s), fill=(34, 34, 40))
        p.ellipse((wx - 5 * s, y - 15 * s, wx + 5 * s, y - 5 * s), fill=(178, 180, 186))


def _lighthouse(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    h, foot, top = 124 * s, 22 * s, 14 * s
    pale = light.thing((252, 250, 246)) if c[1] < 215 or c[2] < 120 else light.thing((168, 172, 180))
    bands = 5
    for band in range(bands):
        low, high = band / bands, (band + 1) / bands
        a, b = foot + (top - foot) * low, foot + (top - foot) * high
        fill = c if band % 2 == 0 else pale
        p.polygon(((x - a, y - h * low), (x + a, y - h * low), (x + b, y - h * high), (x - b, y - h * high)), fill=fill)
    lamp = y - h
    p.rectangle((x - top - 5 * s, lamp - 5 * s, x + top + 5 * s, lamp), fill=(52, 54, 62))
    if dark:
        p.polygon(((x, lamp - 12 * s), (x + 74 * s, lamp - 28 * s), (x + 74 * s, lamp + 6 * s)), fill=(236, 226, 168))
        p.polygon(((x, lamp - 12 * s), (x - 74 * s, lamp - 28 * s), (x - 74 * s, lamp + 6 * s)), fill=(236, 226, 168))
    p.rectangle((x - 9 * s, lamp - 20 * s, x + 9 * s, lamp - 5 * s), fill=(255, 236, 150))
    p.polygon(((x - 14 * s, lamp - 20 * s), (x, lamp - 36 * s), (x + 14 * s, lamp - 20 * s)), fill=_dim(c, 0.2))


def _windmill(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    h = 92 * s
    p.polygon(((x - 27 * s, y), (x - 16 * s, y - h), (x + 16 * s, y - h), (x + 27 * s, y)), fill=c)
    p.polygon(((x + 8 * s, y), (x + 6 * s, y - h), (x + 16 * s, y - h), (x + 27 * s, y)), fill=_dim(c, 0.13))
    p.pieslice((x - 18 * s, y - h - 20 * s, x + 18 * s, y - h + 16 * s), 180, 360, fill=light.thing((84, 62, 56)))
    p.rectangle((x - 7 * s, y - 24 * s, x + 7 * s, y), fill=light.thing((70, 50, 44)))
    p.ellipse((x - 6 * s, y - 58 * s, x + 6 * s, y - 46 * s), fill=_glow(light, dark))
    hub, turn = (x, y - h - 2 * s), rng.uniform(0.3, 1.2)
    for blade in range(4):
        angle = turn + blade * math.pi / 2
        dx, dy = math.cos(angle), math.sin(angle)

        def at(along: float, aside: float, dx: float = dx, dy: float = dy) -> tuple[float, float]:
            return hub[0] + (dx * along - dy * aside) * s, hub[1] + (dy * along + dx * aside) * s

        p.polygon((at(12, 0), at(60, 0), at(60, 14), at(12, 12)), fill=light.thing((240, 232, 212)))
        p.line((hub, at(61, 0)), fill=light.thing((96, 70, 56)), width=max(2, round(4 * s)))


def _palm(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    lean, h, leaf = rng.choice((-1, 1)) * rng.uniform(7, 14) * s, 92 * s, light.thing((34, 132, 74))
    trunk = light.thing((140, 98, 60))
    points = [(x + lean * t * t, y - h * t) for t in (0, 0.25, 0.5, 0.75, 1)]
    p.line(points, fill=trunk, width=max(3, round(9 * s)), joint="curve")
    tx, ty = points[-1]
    for i, angle in enumerate((-2.9, -2.3, -1.57, -0.85, -0.25, 0.25, 2.9)):
        ex, ey = tx + math.cos(angle) * 42 * s, ty + math.sin(angle) * 28 * s + 12 * s
        mx, my = tx + math.cos(angle) * 24 * s, ty + math.sin(angle) * 28 * s - 8 * s
        p.polygon(
            ((tx, ty + 4 * s), (mx, my), (ex, ey), (mx * 0.6 + tx * 0.4, my + 13 * s)), fill=_dim(leaf, 0.08 * (i % 3))
        )


def _sheep(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    side, wool, face = rng.choice((-1, 1)), light.thing((246, 243, 234)), (44, 40, 44)
    for leg in (-17, -8, 9, 18):
        p.rectangle((x + (leg - 3) * s, y - 18 * s, x + (leg + 3) * s, y), fill=face)
    outline = _dim(wool, 0.22)
    for grow, fill in ((3, outline), (0, wool)):
        for dx, dy, r in ((-20, -28, 15), (-7, -36, 17), (9, -36, 17), (21, -28, 15), (0, -26, 19)):
            puff, px, py = (r + grow) * s, x + dx * s, y + dy * s
            p.ellipse((px - puff, py - puff, px + puff, py + puff), fill=fill)
    hx, hy = x + side * 36 * s, y - 38 * s
    p.ellipse((hx - 11 * s, hy - 12 * s, hx + 11 * s, hy + 13 * s), fill=face)
    p.ellipse((hx - 9 * s, hy - 17 * s, hx + 9 * s, hy - 5 * s), fill=wool)


def _boat(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    w, side = 45 * s, rng.choice((-1, 1))
    p.line(((x, y - 12 * s), (x, y - 88 * s)), fill=light.thing((96, 70, 52)), width=max(2, round(4 * s)))
    p.polygon(
        ((x + side * 4 * s, y - 88 * s), (x + side * 4 * s, y - 22 * s), (x + side * 42 * s, y - 22 * s)),
        fill=mix(c, (255, 255, 255), 0.25),
    )
    p.polygon(
        ((x - side * 4 * s, y - 78 * s), (x - side * 4 * s, y - 22 * s), (x - side * 28 * s, y - 22 * s)),
        fill=mix(c, (255, 255, 255), 0.42),
    )
    p.polygon(((x - w, y - 18 * s), (x + w, y - 18 * s), (x + w * 0.68, y + 6 * s), (x - w * 0.68, y + 6 * s)), fill=c)
    p.polygon(
        ((x - w * 0.82, y - 5 * s), (x + w * 0.82, y - 5 * s), (x + w * 0.68, y + 6 * s), (x - w * 0.68, y + 6 * s)),
        fill=_dim(c, 0.3),
    )


def _balloon(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    r = 37 * s
    y -= 6 * s
    for rope in (-1, 1):
        p.line(
            ((x + rope * 15 * s, y + r * 0.8), (x + rope * 6 * s, y + r + 15 * s)),
            fill=light.thing((90, 70, 50)),
            width=2,
        )
    p.polygon(
        (
            (x - r * 0.88, y + r * 0.46),
            (x + r * 0.88, y + r * 0.46),
            (x + 9 * s, y + r + 8 * s),
            (x - 9 * s, y + r + 8 * s),
        ),
        fill=c,
    )
    p.ellipse((x - r, y - r, x + r, y + r), fill=c)
    p.ellipse((x - r * 0.62, y - r, x + r * 0.62, y + r), fill=_dim(c, 0.16))
    p.ellipse((x - r * 0.24, y - r, x + r * 0.24, y + r), fill=mix(c, (255, 255, 255), 0.2))
    p.rectangle((x - 9 * s, y + r + 13 * s, x + 9 * s, y + r + 26 * s), fill=light.thing((146, 98, 56)))


def _kite(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    lean = rng.uniform(-8, 8)
    top, bottom = (x + lean, y - 42), (x - lean, y + 34)
    left, right = (x - 29, y - 10), (x + 29, y - 10)
    p.polygon((top, right, bottom, left), fill=c)
    p.polygon((top, right, bottom), fill=_dim(c, 0.16))
    cord = (230, 230, 236) if dark else (60, 56, 66)
    p.line((top, bottom), fill=cord, width=2)
    p.line((left, right), fill=cord, width=2)
    tail = [(bottom[0] + 9 * math.sin(i * 1.3), bottom[1] + 7 * i) for i in range(7)]
    p.line(tail, fill=cord, width=2)
    for i in (2, 4, 6):
        tx, ty = tail[i]
        p.polygon(((tx - 7, ty - 4), (tx + 7, ty + 4), (tx + 7, ty - 4), (tx - 7, ty + 4)), fill=c)


def _plane(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    side = rng.choice((-1, 1))

    def at(dx: float, dy: float) -> tuple[float, float]:
        return x + side * dx, y + dy

    p.polygon((at(-46, -2), at(-56, -28), at(-42, -28), at(-26, -4)), fill=_dim(c, 0.22))
    x0, x1 = sorted((at(-52, 0)[0], at(52, 0)[0]))
    p.rounded_rectangle((x0, y - 11, x1, y + 11), 11, fill=c)
    p.polygon((at(8, 2), at(-22, 32), at(-36, 32), at(-16, 2)), fill=_dim(c, 0.3))
    p.polygon((at(10, -9), at(-14, -30), at(-24, -30), at(-8, -9)), fill=_dim(c, 0.1))
    for i in range(6):
        wx, wy = at(-26 + i * 11, -2)
        p.ellipse((wx - 3, wy - 3, wx + 3, wy + 3), fill=_glow(light, dark))


def _birds(p: Pen, rng: Random, x: float, y: float, s: float, c: Rgb, light: Light, dark: bool) -> None:
    """A flock of six around x, y: white at night, black by day."""
    fill = (236, 238, 246) if dark else _BLACK
    for dx, dy in ((0, -16), (-34, -4), (34, -6), (-18, 18), (18, 20), (0, 42)):
        bx, by, span = x + dx + rng.uniform(-5, 5), y + dy + rng.uniform(-5, 5), rng.uniform(12, 16)
        p.line(
            ((bx - span, by - 6), (bx - span * 0.5, by - 8), (bx, by), (bx + span * 0.5, by - 8), (bx + span, by - 6)),
            fill=fill,
            width=4,
            joint="curve",
        )


_DRAW: dict[str, Callable[[Pen, Random, float, float, float, Rgb, Light, bool], None]] = {
    "house": _house,
    "tent": _tent,
    "car": _car,
    "lighthouse": _lighthouse,
    "windmill": _windmill,
    "palm": _palm,
    "sheep": _sheep,
    "boat": _boat,
    "balloon": _balloon,
    "kite": _kite,
    "plane": _plane,
    "birds": _birds,
}
