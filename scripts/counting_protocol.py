"""Whether chances and corrections should count files or rows, where a gallery of postcards holds films too.

    python -m scripts.counting_protocol [--films 24] [--photos 300] [--draws 3]

In each draw half of the postcards measure, by three captions each, and two captions of each of the others ask twice,
with their postcard among those that are searched and without. Ten files are the answer. For each way of counting:

    R@1              of the postcards asked for, and of the films by captions of their scenes
    films            how often a film is among the ten best for captions of postcards, as a multiple of a postcard
    error, filtered  the expected calibration error of the chance that any of the ten is right: of the whole gallery,
                     and of 20 postcards and all films

Corrections take half of the mean of the 8 best scores: of each row, or of the best row of each file. "films" are as in
scripts/moments_protocol.py, with two frames a second; "long" is one film of three views and 1,000 frames instead.
"""

import argparse
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from mmsearch import encoders
from mmsearch.embedding import embed
from mmsearch.gallery import Gallery
from mmsearch.images import CutOptions
from mmsearch.metrics import Relevance, calibration_error
from mmsearch.scoring import HITS, Chances, bank_means, best_of_files, fit_chances, sample_presence
from mmsearch.sources import Selection
from scripts.measuring import circumstances
from scripts.moments_protocol import Shot, render_film, sample_film

_POSTCARDS = Path(__file__).parents[1] / "data/postcards"
_ALPHA, _K = 0.5, 8
_FILTERED = 20
_MEASURING, _ASKING = (2, 3, 4), (2, 3)  # captions of a postcard; the first says almost everything
_WAYS = (("no", "rows"), ("no", "files"), ("each row", "rows"), ("each file", "files"))

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pictures:
    """Vectors (n, dim), the file of each from 0, and for captions (m, dim) the file that each asks for."""

    vectors: Vectors
    files: Rows
    texts: Vectors
    asked: Rows


def embedded(folder: Path, frames: str, captions: dict[str, list[str]]) -> Pictures:
    """A folder of files with captions, by their names."""
    gallery_folder = folder.with_suffix(".gallery")
    embed([folder], gallery=gallery_folder, encoder="demo", selection=Selection(cuts=CutOptions(frames=frames)))
    gallery = Gallery.open(gallery_folder)
    ids, names = zip(*[(row_id, name.partition("!/")[0]) for row_id, _, name in gallery.image_names()], strict=True)
    places = {name: place for place, name in enumerate(captions)}
    files = np.array([places[name] for name in names])
    text = encoders.open("demo", ["text"], device="cpu", precision="fp32").text
    said = [(places[name], caption) for name, some in captions.items() for caption in some]
    vectors = np.asarray(gallery.vectors("images", np.array(ids)), np.float32)[np.argsort(files, kind="stable")]
    return Pictures(
        vectors,
        np.sort(files),
        text.encode([caption for _, caption in said]).vectors,
        np.array([place for place, _ in said]),
    )


def render(folder: Path, count: int, *, long: bool) -> dict[str, list[str]]:
    """Films and the captions of their scenes."""
    folder.mkdir()
    rng, captions = Random(5), {}
    for number in range(count):
        shots = sample_film(rng)
        if long:
            shots = [Shot(shot.caption, shot.frame, 100 / 3, 3.0) for shot in shots[:3]]
        render_film(folder / f"film{number:02}.mp4", shots, number)
        captions[f"film{number:02}.mp4"] = [shot.caption for shot in shots]
    return captions


def starts_of(files: Rows) -> Rows:
    return np.flatnonzero(np.concatenate([[True], np.diff(files) > 0]))


def judge(photos: Pictures, films: Pictures, corrected: str, counted: str, count: int, seed: int) -> list[float]:
    """The columns of the docstring, of one draw."""
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(len(photos.vectors))[:count]
    vectors = np.concatenate([photos.vectors[chosen], films.vectors])
    files = np.concatenate([np.arange(count), count + films.files])
    starts = starts_of(files)

    def asked(half: Rows, which: tuple[int, ...]) -> tuple[Vectors, Rows]:
        own = [np.flatnonzero(photos.asked == chosen[place])[list(which)] for place in half]
        return photos.texts[np.concatenate(own)], np.repeat(half, len(which))

    halves = np.array_split(rng.permutation(count), 2)
    (bank, owners), (queries, wanted) = asked(halves[0], _MEASURING), asked(halves[1], _ASKING)
    lowered = np.zeros(len(vectors))
    if corrected != "no":
        some = starts if corrected == "each file" else None
        lowered = _ALPHA * bank_means(vectors, bank, (_K,), owners=files, bank_owners=owners, starts=some)[_K]
    known = bank @ vectors.T - lowered
    known = known if counted == "rows" else best_of_files(known, starts)
    clusters = np.unique(owners, return_inverse=True)[1]
    chances = fit_chances([sample_presence(known, Relevance.one_each(owners), rng)], clusters)
    scores = best_of_files(queries @ vectors.T - lowered, starts)
    of_films = best_of_files(films.texts @ vectors.T - lowered, starts)
    ten = np.argsort(-scores, axis=1)[:, :HITS]
    times = np.bincount(ten.ravel(), minlength=len(starts))
    sizes = np.diff(starts, append=len(files))
    return [
        100 * float((scores.argmax(axis=1) == wanted).mean()),
        100 * float((of_films.argmax(axis=1) == count + films.asked).mean()),
        float(times[count:].mean() / times[:count].mean()),
        *(
            _error(chances, scores, wanted, sizes if counted == "rows" else np.ones_like(sizes), count, rng, filtered)
            for filtered in (False, True)
        ),
    ]


def _error(
    chances: Chances,
    scores: NDArray[np.floating],
    wanted: Rows,
    sizes: Rows,
    photos: int,
    rng: np.random.Generator,
    filtered: bool,
) -> float:
    """sizes: as how many each file counts."""
    told, right = [], []
    for own, row in zip(wanted.tolist(), scores, strict=True):
        for there in (True, False):
            admitted = np.ones(len(row), bool)
            if filtered:
                admitted[:photos] = np.isin(np.arange(photos), rng.permutation(photos)[:_FILTERED])
            admitted[own] = there
            best = np.flatnonzero(admitted)[np.argsort(-row[admitted])[:HITS]]
            told.append(float(chances.of_any(row[best[:1]], int(sizes[admitted].sum()))[0]))
            right.append(own in best)
    clusters = np.repeat(np.unique(wanted, return_inverse=True)[1], 2)
    return calibration_error(np.array(told), np.array(right), clusters, int(clusters.max()) + 1).value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=24)
    parser.add_argument("--photos", type=int, default=300)
    parser.add_argument("--draws", type=int, default=3)
    options = parser.parse_args()
    print(circumstances())
    described = json.loads((_POSTCARDS / "dataset_postcards.json").read_text())["images"]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "photos").symlink_to(_POSTCARDS / "images")
        said = {image["filename"]: [each["raw"] for each in image["sentences"]] for image in described}
        photos = embedded(folder / "photos", "auto", said)
        films = {
            "films": embedded(folder / "films", "every=500ms", render(folder / "films", options.films, long=False))
        }
        films["long"] = embedded(folder / "long", "every=100ms", render(folder / "long", 1, long=True))
    print("films, corrected, counted, R@1 of postcards, R@1 of films, films in the ten best, error, filtered")
    for name, some in films.items():
        print(f"{name}: {len(np.unique(some.files))} files, {len(some.files):,} frames")
        for corrected, counted in _WAYS:
            draws = [judge(photos, some, corrected, counted, options.photos, seed) for seed in range(options.draws)]
            figures = " ".join(f"{value:8.3f}" for value in np.mean(draws, axis=0))
            print(f"{name:6} {corrected:10} {counted:6} {figures}", flush=True)


if __name__ == "__main__":
    main()
