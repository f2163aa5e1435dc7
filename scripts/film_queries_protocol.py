"""What a whole film should ask with, its mean or each of its frames: films that share scenes, copies, and photos.

    python -m scripts.film_queries_protocol [--films 24] [--model demo] [--seed 5]
    python -m scripts.film_queries_protocol --time GALLERY      # what it costs, in a gallery of any rows

Films of eight scenes, each a postcard seen for 2 to 6 seconds, ask; among other films of eight scenes, and postcards,
stands for each of them one target of a kind:

    half, quarter, one   a film of eight scenes of which four, two or one are of the film that asks, at other places
    re-encoded           the same film at two thirds of its size and a low quality
    cut                  from the middle of its third scene to the middle of its sixth
    photo                a picture of one of its scenes, drawn anew: what is accident in it differs

Figures are shares of the films whose target is the first hit. "framed": each film, those that are found too, begins
with black and a title of its own and ends with black. Ways to ask:

    mean                 the mean of the film's frames, which is one vector
    all best pairs       each frame that is no near-duplicate of another, black and titles too
    best pair            without those, as it is done: `mmsearch query --like FILM`
    best pair, new       the same of a film that the gallery does not hold: `mmsearch query --image FILM`
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.search.open_gallery import OpenGallery, open_gallery
from mmsearch.search.own_items import MOST_VECTORS, different_places, mean_vector, rows_named
from mmsearch.search.query import ImagePart, ItemPart, Part, Query, VectorPart
from mmsearch.search.retrieval import SearchOptions
from scripts.measuring import circumstances
from scripts.moments_protocol import Shot, render_film
from scripts.postcards.render import render
from scripts.postcards.scene import Scene, sample_scene

_SCENES, _SECONDS = 8, (2, 6)
_SHARED = {"half": 4, "quarter": 2, "one": 1}
_KINDS = (*_SHARED, "re-encoded", "cut", "photo")
_WAYS = ("mean", "all best pairs", "best pair", "best pair, new")
_RUNS = 15

Film = list[tuple[Scene, Shot]]


def sample_shot(rng: Random) -> tuple[Scene, Shot]:
    scene = sample_scene(rng)
    frame = np.asarray(render(scene, rng.randrange(1 << 30)))
    return scene, Shot("", frame, round(rng.uniform(*_SECONDS), 1), 0.0)


def sharing(film: Film, count: int, rng: Random) -> Film:
    """A film of which so many scenes are of another one."""
    shots = [*rng.sample(film, count), *(sample_shot(rng) for _ in range(_SCENES - count))]
    rng.shuffle(shots)
    return shots


def excerpt(film: Film) -> Film:
    (first, one), *whole, (last, other) = film[2:6]
    halves = [Shot("", each.frame, each.seconds / 2, 0.0) for each in (one, other)]
    return [(first, halves[0]), *whole, (last, halves[1])]


def smaller(film: Film) -> Film:
    return [(scene, _resized(shot)) for scene, shot in film]


def _resized(shot: Shot) -> Shot:
    height, width, _ = shot.frame.shape
    small = Image.fromarray(shot.frame).resize((width * 2 // 3, height * 2 // 3))
    return Shot("", np.asarray(small), shot.seconds, 0.0)


def write(file: Path, film: Film, number: int, rng: Random, *, framed: bool, quality: int = 23) -> None:
    """Render a film. framed: with black and a title before it, and black behind it."""
    shots = [shot for _, shot in film]
    if framed:
        black = np.zeros_like(shots[0].frame)
        title = Image.fromarray(black)
        word = "".join(rng.choices("ABCDEFGHIKLMNOPRSTUVW", k=rng.randint(5, 9)))
        ImageDraw.Draw(title).text((black.shape[1] // 2, black.shape[0] // 2), word, "white", anchor="mm", font_size=18)
        shots = [
            Shot("", black, 1.5, 0.0),
            Shot("", np.asarray(title), 2.0, 0.0),
            *shots,
            Shot("", black, 1.5, 0.0),
        ]
    file.parent.mkdir(parents=True, exist_ok=True)
    render_film(file, shots, number, quality)


def write_all(folder: Path, films: int, rng: Random, *, framed: bool) -> None:
    """`folder/asked`, a folder for each kind, and `folder/other`."""
    for number in range(films):
        name = f"{number:03}.mp4"
        film = [sample_shot(rng) for _ in range(_SCENES)]
        write(folder / "asked" / name, film, number, rng, framed=framed)
        for kind, count in _SHARED.items():
            write(folder / kind / name, sharing(film, count, rng), 1_000 + number, rng, framed=framed)
        write(folder / "re-encoded" / name, smaller(film), 2_000 + number, rng, framed=framed, quality=36)
        write(folder / "cut" / name, excerpt(film), 3_000 + number, rng, framed=framed)
        write(folder / "other" / name, [sample_shot(rng) for _ in range(_SCENES)], 4_000 + number, rng, framed=framed)
        scene, _ = rng.choice(film)
        (folder / "photo").mkdir(exist_ok=True)
        render(scene, rng.randrange(1 << 30)).save(folder / "photo" / f"{number:03}.jpg", quality=80)
        for photo in range(10):
            card = render(sample_scene(rng), rng.randrange(1 << 30))
            card.save(folder / "other" / f"{number:03}_{photo}.jpg", quality=80)


def vectors_part(gallery: Gallery, named: str, way: str) -> VectorPart:
    vectors = np.asarray(gallery.vectors("images", rows_named(gallery, named)), np.float32)
    return VectorPart(mean_vector(vectors) if way == "mean" else vectors[different_places(vectors)], named)


def found_first(opened: OpenGallery, new: OpenGallery, files: Sequence[Path], kind: str, way: str) -> float:
    """The share of films whose target of a kind is the first hit."""
    found = 0
    for file in files:
        asked: Part = ItemPart(file)
        if way in ("mean", "all best pairs"):
            asked = vectors_part(opened.gallery, str(file), way)
        if way == "best pair, new":
            asked = ImagePart(file)
        where = f"path like '{kind}/%' or path like 'other/%'"
        gallery = new if way == "best pair, new" else opened
        (hit,) = gallery.ask(Query([asked], k=1, where=where)).hits
        found += (hit.path or "").startswith(f"{kind}/{file.stem}.")
    return found / len(files)


def compare(folder: Path, films: int, model: str, rng: Random, *, framed: bool) -> None:
    write_all(folder / "files", films, rng, framed=framed)
    embed([folder / "files"], gallery=folder / "g", encoder=model)
    opened, new = open_gallery(folder / "g"), open_gallery(folder / "g", encoder=model)
    files = sorted((folder / "files/asked").iterdir())
    rows = sum(len(rows_named(opened.gallery, str(file))) for file in files)
    print(f"\n{'framed' if framed else 'as they are'}: {rows / len(files):.1f} frames of each film that asks")
    print(f"{'':<18}" + "".join(f"{kind:>12}" for kind in _KINDS))
    for way in _WAYS:
        shares = [found_first(opened, new, files, kind, way) for kind in _KINDS]
        print(f"{way:<18}" + "".join(f"{share:>12.2f}" for share in shares), flush=True)


def measure_time(folder: Path) -> None:
    """Print how long queries of so many vectors take, each of rows of the gallery: from question to answer, and in
    brackets the work of processors, which depends less on what else runs."""
    opened = open_gallery(folder)
    rng = np.random.default_rng(0)
    live = np.concatenate([block.row_ids for block in opened.gallery.vector_blocks("images")])
    indexed = opened.gallery.index_for("images") is not None
    print(f"{len(live):,} rows; milliseconds a query")
    for count in (1, 8, 16, 32, MOST_VECTORS):
        rows = np.sort(rng.choice(live, count, replace=False))
        vectors = np.asarray(opened.gallery.vectors("images", rows), np.float32)
        part = VectorPart(vectors[0] if count == 1 else vectors, "rows")
        ways = [("exact", SearchOptions(exact=True)), *([("through the index", SearchOptions())] if indexed else [])]
        times = [(way, np.median(_times(opened, part, options), axis=0)) for way, options in ways]
        told = [f"{way} {waited:.0f} ({worked:.0f})" for way, (waited, worked) in times]
        print(f"{count:>3} vectors: {', '.join(told)}", flush=True)


def _times(opened: OpenGallery, part: VectorPart, options: SearchOptions) -> NDArray[np.float64]:
    """(runs, 2)"""
    taken = []
    for _ in range(_RUNS + 1):
        began = time.perf_counter(), time.process_time()
        opened.ask(Query([part]), options=options)
        taken.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    return 1_000 * np.array(taken[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--time", type=Path)
    asked = parser.parse_args()
    print(circumstances())
    if asked.time is not None:
        measure_time(asked.time)
        return
    for framed in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), asked.films, asked.model, Random(asked.seed), framed=framed)


if __name__ == "__main__":
    main()
