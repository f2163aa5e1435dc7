"""Scene and seed -> picture. The same scene and seed give the same pixels; another seed moves only what is accident."""

from __future__ import annotations

import argparse
import io
from random import Random

from PIL import Image

from scripts.postcards.backdrop import draw_fog, draw_land, draw_rain, draw_sky
from scripts.postcards.palette import CANVAS, LIGHTS
from scripts.postcards.scene import KINDS, Scene, sample_scene
from scripts.postcards.things import draw_things

__all__ = ["PICTURE_SIZE", "jpeg", "render"]

PICTURE_SIZE = (CANVAS[0] // 2, CANVAS[1] // 2)


def render(scene: Scene, seed: int, without: frozenset[str] = frozenset()) -> Image.Image:
    """The picture of a scene, RGB, PICTURE_SIZE.

    without: kinds of things that are not drawn, while all else keeps its place and its accidents: what would be seen if
    they were not there.
    """
    rng, light = Random(seed), LIGHTS[scene.time]
    picture = Image.new("RGB", CANVAS, light.haze)
    taken = {slot for t in scene.things if KINDS[t.kind].layer == "sky" for slot in t.slots}
    draw_sky(picture, rng, scene.time, light, [slot for slot in range(3) if slot not in taken])
    draw_land(picture, rng, scene.land, light, scene.time, scene.has_water)
    if scene.time == "fog":
        draw_fog(picture, rng)
    draw_things(picture, rng, scene, light, without)
    if scene.time == "storm":
        draw_rain(picture, rng)
    return picture.reduce(2)


def jpeg(picture: Image.Image, quality: int = 80) -> bytes:
    """The picture as JPEG, baseline, default chroma subsampling."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw a sheet of random postcards, to be looked at.")
    parser.add_argument("output", help="image file to write, for example /tmp/sheet.png")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--columns", type=int, default=7)
    parser.add_argument("--rows", type=int, default=6)
    args = parser.parse_args()
    rng = Random(args.seed)
    width, height = PICTURE_SIZE
    sheet = Image.new("RGB", (args.columns * (width + 4), args.rows * (height + 4)), "white")
    for i in range(args.columns * args.rows):
        picture = render(sample_scene(rng), args.seed * 1_000_003 + i)
        sheet.paste(picture, (i % args.columns * (width + 4) + 2, i // args.columns * (height + 4) + 2))
    sheet.save(args.output)


if __name__ == "__main__":
    main()
