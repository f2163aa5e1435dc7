"""Postcards from another world, for a model that knows the postcards: the same scenes and claims, in another palette
and drawing style, described in invented words. Who is consistent with whom, and so the ceiling, stays the same.

    python -m scripts.postcards.shifted /tmp/sheet.png
"""

import argparse
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageFilter

from scripts.postcards.captions import Caption, caption_scene
from scripts.postcards.dataset import held_out
from scripts.postcards.render import PICTURE_SIZE, jpeg, render
from scripts.postcards.scene import Scene, sample_scene

__all__ = ["Shift", "ShiftedPostcard", "invent", "restyle", "shifted_postcards", "write_shifted"]

POSTCARDS = Path(__file__).resolve().parents[2] / "data" / "postcards"

# What stays as it is: the frame of a sentence, without anything that a picture could show.
_FRAME = frozenset(
    re.findall(
        "[a-z]+",
        "a an the of in on at by with and is are there to as for from over under above below near beside next side "
        "between among during into up",
    )
)
_SYLLABLES = tuple(first + second for first in "bdfgklmnprstvz" for second in ("a", "e", "i", "o", "u", "ai", "or"))


@dataclass(frozen=True, slots=True)
class Shift:
    """What is other than in the world that is known. style: how it is drawn. words: how it is described."""

    style: bool = True
    words: bool = True


@dataclass(frozen=True, slots=True)
class ShiftedPostcard:
    """A picture, what it shows, and five captions with what each claims."""

    image: Image.Image
    scene: Scene
    captions: tuple[Caption, ...]


def restyle(picture: Image.Image) -> Image.Image:
    """Another palette (channels in turn, six levels of each, paper for white) and ink lines where colours change. A
    function of the picture alone, that keeps the colours of things apart."""
    pixels = np.asarray(picture.convert("RGB"), dtype=np.float32)[:, :, [2, 0, 1]] / 255
    levels = np.round(pixels * 5) / 5
    toned = 0.12 + 0.86 * levels * np.array([1.0, 0.95, 0.82], np.float32)
    edges = picture.convert("L").filter(ImageFilter.FIND_EDGES)
    ink = np.clip(np.asarray(edges, dtype=np.float32) / 90, 0, 1)[:, :, None]
    ink[0], ink[-1], ink[:, 0], ink[:, -1] = 0, 0, 0, 0  # the filter sees an edge at the border
    drawn = toned * (1 - ink) + np.array([0.16, 0.10, 0.22], np.float32) * ink
    return Image.fromarray((drawn * 255).round().astype(np.uint8))


def invent(text: str) -> str:
    """The text with invented words for all that a picture could show; a word always becomes the same one.

    >>> invent("a red house by the sea") == invent("a red house by the sea") != "a red house by the sea"
    True
    """
    return re.sub(r"[A-Za-z]+", lambda word: _invented(word[0]), text)


def _invented(word: str) -> str:
    if word.lower() in _FRAME:
        return word
    made = "".join(Random(f"shifted {word.lower()}").choices(_SYLLABLES, k=3))
    return made.capitalize() if word[0].isupper() else made


def shifted_postcards(count: int, *, seed: int, shift: Shift) -> list[ShiftedPostcard]:
    """Postcards of random scenes, none of which is in the known world's test split. The same for the same arguments;
    pictures as a JPEG gives them back."""
    rng, held = Random(seed), held_out(POSTCARDS)
    made: list[ShiftedPostcard] = []
    while len(made) < count:
        scene = sample_scene(rng)
        if scene in held:
            continue
        picture = render(scene, rng.getrandbits(30))
        captions = caption_scene(rng, scene)
        if shift.words:
            captions = tuple(Caption(invent(each.text), each.claims) for each in captions)
        made.append(ShiftedPostcard(restyle(picture) if shift.style else picture, scene, captions))
    return made


def write_shifted(folder: Path, postcards: Sequence[ShiftedPostcard]) -> tuple[Path, Path]:
    """Write images/ and captions.csv under a folder, for `mmsearch embed` and `finetune`; returns their paths."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = ["image,caption"]
    for number, postcard in enumerate(postcards):
        name = f"shifted_{number:05d}.jpg"
        (folder / "images" / name).write_bytes(jpeg(postcard.image))
        lines += [f"{name},{json.dumps(caption.text)}" for caption in postcard.captions]
    captions = folder / "captions.csv"
    captions.write_text("\n".join(lines) + "\n", "utf-8")
    return folder / "images", captions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="a sheet of postcards of both worlds, to be looked at")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    width, height = PICTURE_SIZE
    sheet = Image.new("RGB", (6 * (width + 4), 6 * (height + 4)), "white")
    for row, style in enumerate((False, True) * 3):
        postcards = shifted_postcards(6, seed=args.seed + row // 2, shift=Shift(style, words=style))
        for column, postcard in enumerate(postcards):
            sheet.paste(postcard.image, (column * (width + 4) + 2, row * (height + 4) + 2))
        print(postcards[0].captions[0].text)
    sheet.save(args.output)


if __name__ == "__main__":
    main()
