"""Whether small things in large pictures are found: scenes of 4000 x 3000 pixels with one thing of a postcard each.

    python -m scripts.tiles_protocol [--scenes 100] [--model demo] [--tiles auto 2,3]

A scene is a postcard's sky and land, and in it one thing that a fourth to a thirty-second of its width is wide. Of each
width there are as many scenes, and they are searched among themselves, a hit a picture, whose score is that of the best
of what is embedded of it:

    whole            the picture
    2,3 and others   the picture, and tiles of its own pixels as `embed --tiles` cuts them
    3x3 shrunk       the picture, and 3 x 3 tiles of it after it was shrunk to the model's input

R@10 is the share of texts with a right picture among the first ten; chance is what ten pictures drawn blindly reach.
"the thing": a text names the thing and its colour; right is each picture with such a thing. "the scene": a text names
the time of day and the land, of which every picture is right that shows both. Intervals are those of Wilson.
"""

import argparse
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops

from mmsearch import encoders
from mmsearch.encoders import Encoder
from mmsearch.metrics import wilson_interval
from mmsearch.tiles import USUAL_SIDE, Tiling
from scripts.postcards.captions import LAND_PHRASE, TIME_PHRASE, name_thing
from scripts.postcards.render import render
from scripts.postcards.scene import Scene, sample_scene_of

__all__ = ["SIZE", "BigScene", "draw", "sample"]

SIZE = (4000, 3000)
_SHARES = (4, 8, 16, 32)
_K = 10
_SEED = 24
_DIFFERS = 6  # of 255, from which on a pixel belongs to the thing: a white car stands in snow too
_WHOLE, _SHRUNK = "whole", "3x3 shrunk"

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class BigScene:
    """A scene with one thing. share: how many times the thing's width goes into the picture's."""

    scene: Scene
    seed: int
    share: int

    @property
    def names_thing(self) -> tuple[str, str | None]:
        """What makes a picture right for a text about the thing."""
        (thing,) = self.scene.things
        return thing.kind, thing.colour

    @property
    def names_scene(self) -> tuple[str, str | None]:
        """Likewise for one about the scene."""
        return self.scene.time, self.scene.land


def sample(rng: Random, share: int) -> BigScene:
    """A scene with one thing in it."""
    while True:
        scene = sample_scene_of(rng, 1)
        if scene.things[0].count == 1:
            return BigScene(scene, rng.randrange(1 << 30), share)


def draw(big: BigScene) -> Image.Image:
    """The picture, RGB, of SIZE. The thing stands anywhere in it."""
    kinds = frozenset(thing.kind for thing in big.scene.things)
    with_thing, without = render(big.scene, big.seed), render(big.scene, big.seed, kinds)
    differs = ImageChops.difference(with_thing, without).convert("L").point(lambda value: 255 * (value >= _DIFFERS))
    box = differs.getbbox() or (0, 0, *with_thing.size)
    width = SIZE[0] // big.share
    height = max(1, round(width * (box[3] - box[1]) / (box[2] - box[0])))
    if height > SIZE[1] // big.share:  # a lighthouse is higher than it is wide
        width, height = max(1, round(width * (SIZE[1] // big.share) / height)), SIZE[1] // big.share
    thing, mask = (image.crop(box).resize((width, height), Image.Resampling.BICUBIC) for image in (with_thing, differs))
    picture = without.resize(SIZE, Image.Resampling.BICUBIC)
    rng = Random(big.seed)
    picture.paste(thing, (rng.randrange(SIZE[0] - width), rng.randrange(SIZE[1] - height)), mask)
    return picture


def _encode(encoder: Encoder, picture: Image.Image, tilings: Sequence[Tiling]) -> dict[str, Vectors]:
    """Way -> the vectors of all that it embeds of a picture."""
    side = max(encoder.image.size or (USUAL_SIDE,))
    boxes = {str(tiling): tiling.boxes(*picture.size, side) for tiling in tilings}
    small = picture.resize((side, side), Image.Resampling.BICUBIC)
    thirds = [round(side * third / 3) for third in range(4)]
    parts = {
        _WHOLE: [picture],
        _SHRUNK: [small.crop((thirds[x], thirds[y], thirds[x + 1], thirds[y + 1])) for y in range(3) for x in range(3)],
        **{name: [picture.crop(box.pixels(*picture.size)) for box in each] for name, each in boxes.items()},
    }
    pixels = np.stack([encoder.image.prepare(part) for each in parts.values() for part in each])
    vectors = encoder.image.encode(pixels)
    ends = np.cumsum([len(each) for each in parts.values()])
    found = dict(zip(parts, np.split(vectors, ends[:-1]), strict=True))
    return {name: each if name == _WHOLE else np.concatenate([found[_WHOLE], each]) for name, each in found.items()}


def _hits(texts: Vectors, pictures: Sequence[Vectors], right: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(n_texts,): whether a right picture is among the best of each text. right: (n_texts, n_pictures)."""
    scores = np.stack([(texts.astype(np.float64) @ each.T.astype(np.float64)).max(1) for each in pictures], 1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    return np.asarray(np.take_along_axis(right, best, 1).any(axis=1), np.bool_)


def _chance(right: NDArray[np.bool_]) -> float:
    """What ten pictures drawn without putting back reach, on the mean."""
    pictures = right.shape[1]
    missed = [math.comb(pictures - int(n), _K) / math.comb(pictures, _K) for n in right.sum(1)]
    return 1 - float(np.mean(missed))


def measure(encoder: Encoder, share: int, scenes: int, tilings: Sequence[Tiling]) -> list[dict[str, object]]:
    """A row a way and a sort of text."""
    rng = Random(_SEED + share)
    bigs = [sample(rng, share) for _ in range(scenes)]
    ways: dict[str, list[Vectors]] = {}
    for big in bigs:
        for name, vectors in _encode(encoder, draw(big), tilings).items():
            ways.setdefault(name, []).append(vectors)
    asked: dict[str, tuple[list[str], list[tuple[str, str | None]]]] = {
        "the thing": ([name_thing(rng, big.scene.things[0]) for big in bigs], [big.names_thing for big in bigs]),
        "the scene": (
            [f"{rng.choice(LAND_PHRASE[big.scene.land])} {rng.choice(TIME_PHRASE[big.scene.time])}" for big in bigs],
            [big.names_scene for big in bigs],
        ),
    }
    rows: list[dict[str, object]] = []
    for about, (texts, names) in asked.items():
        right = np.array([[one == other for other in names] for one in names])
        vectors = encoder.text.encode(texts).vectors
        for way, pictures in ways.items():
            found = _hits(vectors, pictures, right)
            around = wilson_interval(float(found.mean()), scenes)
            rows.append(
                {
                    "width": f"1/{share}",
                    "about": about,
                    "way": way,
                    "rows": sum(map(len, pictures)) // scenes,
                    "R@10": round(100 * float(found.mean()), 1),
                    "from": round(100 * around.low, 1),
                    "to": round(100 * around.high, 1),
                    "chance": round(100 * _chance(right), 1),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--scenes", type=int, default=100)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--tiles", nargs="+", default=["auto", "2", "2,3"])
    arguments = parser.parse_args()
    encoder = encoders.open(arguments.model, device="cpu", precision="fp32")
    for share in _SHARES:
        for row in measure(encoder, share, arguments.scenes, [Tiling.read(each) for each in arguments.tiles]):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
