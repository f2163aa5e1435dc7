"""How well and how fast `duplicates` finds what shows the same, beside the difference hash that others use.

    python -m scripts.bench_duplicates [FOLDER] [--photos 400] [--json out.json]

FOLDER holds photos that are all different; without it drawn postcards are taken. Of a quarter of them two edited forms
each are written, of a tenth of these a copy. The model is the bundled one, which knows postcards alone: of photos it
does not know which are near to each other, and so which may be parts of others. Printed is which share of each kind of
edit is found in one group with its original, how many groups hold what does not belong together, and what it took.
Beside it stands what most tools do: the 64 bits of a difference hash (of 9 x 8 grey pixels), alike where at most ten
differ.

Then what is hard: two photos of one scene. Pairs of postcards in which two things have exchanged their colours are two
pictures; how many are taken for one is said for both.
"""

import argparse
import io
import json
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from mmsearch.embedding import embed
from mmsearch.upkeep.duplicates import duplicates
from scripts.measuring import circumstances
from scripts.postcards.dataset import load_swaps
from scripts.postcards.render import render

POSTCARDS = Path(__file__).resolve().parents[1] / "data" / "postcards"
HASH_BITS = 10
EDITS: dict[str, Callable[[Image.Image, random.Random], Image.Image]] = {
    "coded anew (30)": lambda image, _: recoded(image, 30),
    "half as large": lambda image, _: image.resize((image.width // 2, image.height // 2)),
    "a quarter": lambda image, _: image.resize((image.width // 4, image.height // 4)),
    "cropped to 80 %": lambda image, rng: cropped(image, 0.8, rng),
    "cropped to 60 %": lambda image, rng: cropped(image, 0.6, rng),
    "turned by 90": lambda image, _: image.rotate(90, expand=True),
    "turned by 180": lambda image, _: image.rotate(180),
    "turned by 3": lambda image, _: image.rotate(3, Image.Resampling.BICUBIC),
    "mirrored": lambda image, _: ImageOps.mirror(image),
    "watermarked": lambda image, _: watermarked(image),
    "grey": lambda image, _: ImageOps.grayscale(image).convert("RGB"),
    "brighter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.35),
    "paler": lambda image, _: ImageEnhance.Contrast(image).enhance(0.6),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, nargs="?", default=POSTCARDS / "images", help="of photos")
    parser.add_argument("--photos", type=int, default=400, help="of these that are taken")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    photos = sorted(file for file in options.folder.iterdir() if file.suffix in (".jpg", ".png"))[: options.photos]
    with tempfile.TemporaryDirectory() as name:
        figures = {"edits": edits(photos, Path(name) / "edits"), "one_scene": one_scene(Path(name) / "scenes")}
    if options.json:
        options.json.write_text(json.dumps({**circumstances(), **figures}, indent=1) + "\n")


def edits(photos: list[Path], folder: Path) -> dict[str, Any]:
    """Find edited forms of photos, and print a line a kind."""
    kinds = write_edits(photos, folder)
    print(f"{len(photos)} photos, {len(kinds)} edited forms and copies")
    found = {"duplicates": grouped(folder), "quick": grouped(folder, quick=True), "difference hash": hashed(folder)}
    print(f"{'found of':16} {'of':>4} " + " ".join(f"{way:>16}" for way in found))
    shares: dict[str, dict[str, float]] = defaultdict(dict)
    for kind in dict.fromkeys(kinds.values()):
        names = [name for name, other in kinds.items() if other == kind]
        for way, (groups, _) in found.items():
            together = {frozenset((name, each)) for group in groups for name in group for each in group}
            shares[kind][way] = sum(frozenset((name, original(name))) in together for name in names) / len(names)
        print(f"{kind:16} {len(names):4} " + " ".join(f"{shares[kind][way]:16.2f}" for way in found))
    wrong = {
        way: sum(len({original(name) for name in group}) > 1 for group in groups) for way, (groups, _) in found.items()
    }
    print(f"{'wrong groups':16} {'':4} " + " ".join(f"{wrong[way]:16}" for way in found))
    print(f"{'seconds':16} {'':4} " + " ".join(f"{seconds:16.2f}" for _, seconds in found.values()))
    return {"shares": shares, "wrong_groups": wrong, "seconds": {way: seconds for way, (_, seconds) in found.items()}}


def one_scene(folder: Path) -> dict[str, int]:
    """Take pairs of pictures of nearly one scene, and print how many are taken for one picture."""
    folder.mkdir()
    pairs = load_swaps(POSTCARDS)
    for number, pair in enumerate(pairs):
        for side, (scene, seed) in enumerate(zip(pair.scenes, pair.seeds, strict=True)):
            render(scene, seed).save(folder / f"{number:03}{'' if side == 0 else '__other'}.png")
    groups = {"duplicates": grouped(folder)[0], "difference hash": hashed(folder)[0]}
    both = [{f"{number:03}.png", f"{number:03}__other.png"} for number in range(len(pairs))]
    taken = {way: sum(pair <= group for pair in both for group in some) for way, some in groups.items()}
    print(f"of {len(pairs)} pairs of pictures of one scene taken for one picture: {taken}")
    return {"pairs": len(pairs), **taken}


def write_edits(photos: list[Path], folder: Path) -> dict[str, str]:
    """Write the photos, and edited forms of every fourth. Returns the kind of each form by its name."""
    folder.mkdir()
    rng, kinds = random.Random(0), {}
    for number, file in enumerate(photos):
        image = Image.open(file).convert("RGB")
        image.save(folder / f"{number:05}.png")
        if number % 4 == 0:
            for kind in rng.sample(sorted(EDITS), 2):
                name = f"{number:05}__{sorted(EDITS).index(kind)}.jpg"
                EDITS[kind](image, rng).save(folder / name, quality=90)
                kinds[name] = kind
        if number % 40 == 0:
            name = f"{number:05}__copy.png"
            (folder / name).write_bytes((folder / f"{number:05}.png").read_bytes())
            kinds[name] = "copied"
    return kinds


def original(name: str) -> str:
    return f"{Path(name).stem.partition('__')[0]}.png"


def grouped(folder: Path, *, quick: bool = False) -> tuple[list[set[str]], float]:
    """The groups of names that `duplicates` finds, and its seconds."""
    gallery = folder.with_suffix(".gallery")
    if not gallery.exists():
        embed([folder], gallery=gallery, encoder="demo")
    started = time.perf_counter()
    report = duplicates(gallery, burst_seconds=0, quick=quick)
    return [{Path(file.path).name for file in group.files} for group in report.groups], time.perf_counter() - started


def hashed(folder: Path) -> tuple[list[set[str]], float]:
    """The same by difference hashes, each compared with each."""
    started = time.perf_counter()
    names = sorted(file.name for file in folder.iterdir())
    bits = np.stack([difference_hash(Image.open(folder / name)) for name in names])
    above = [*range(len(names))]

    def first(position: int) -> int:
        while above[position] != position:
            position = above[position]
        return position

    for one, other in alike(bits):
        above[first(other)] = first(one)
    groups: dict[int, set[str]] = defaultdict(set)
    for position, name in enumerate(names):
        groups[first(position)].add(name)
    return [group for group in groups.values() if len(group) > 1], time.perf_counter() - started


def alike(bits: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    for position in range(len(bits)):
        for other in np.flatnonzero((bits[position] ^ bits[position + 1 :]).sum(axis=1) <= HASH_BITS):
            yield position, position + 1 + int(other)


def difference_hash(image: Image.Image) -> NDArray[np.bool_]:
    pixels = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return (pixels[:, 1:] > pixels[:, :-1]).ravel()


def recoded(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def cropped(image: Image.Image, share: float, rng: random.Random) -> Image.Image:
    width, height = image.size
    left, upper = (rng.random() * (1 - share) * side for side in image.size)
    return image.crop((int(left), int(upper), int(left + share * width), int(upper + share * height)))


def watermarked(image: Image.Image) -> Image.Image:
    marked = image.copy()
    width, height = image.size
    draw = ImageDraw.Draw(marked)
    draw.rectangle((width * 0.6, height * 0.85, width * 0.98, height * 0.97), fill="white")
    draw.text((width * 0.62, height * 0.87), "(c) me", fill="black")
    return marked


if __name__ == "__main__":
    main()
