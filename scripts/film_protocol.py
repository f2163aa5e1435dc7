"""From which cosine on a frame of a film shows nothing new: what is kept, and what is found, by that threshold.

    python -m scripts.film_protocol [--films 8] [--vectors features_clip.npy]

Films are rendered from postcards: scenes of 1 to 9 seconds, of which a third are cut to, a third pan, and a third are
faded to; half of the films have variable frame rates. Which scene is when is known. For each threshold: how many of the
frames that are looked at are kept, how many of the scenes have a frame of their own, and how often the best frame among
those of all films for a scene's caption is of that scene (R@1). Beside it stand as many frames at equal distances, so
many of each film, and key frames alone. A frame is of a scene where it is shown within it.

--vectors: (2, n, dim) or (n, dim), of different pictures by another model: how often two of them are as alike as that.
"""

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch import encoders
from mmsearch.cutting import choose_new
from mmsearch.encoders import Encoder
from mmsearch.films import FrameTable, choose_frames, open_film, read_table
from mmsearch.frame_choice import FrameChoice
from scripts.measuring import circumstances

_POSTCARDS = Path(__file__).parents[1] / "data/postcards"
_SIZE = 192, 144
_RATE = 12
_THRESHOLDS = (0.70, 0.80, 0.85, 0.90, 0.95, 0.97, 0.99)
_COMPARED = (0.95,)
_FADE_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class Scene:
    """A postcard that is shown in a film. caption: of it. begins, ends: in seconds."""

    caption: str
    begins: float
    ends: float


@dataclass(frozen=True, slots=True)
class SeenFrames:
    """Frames of one film with their vectors (n, dim)."""

    times: NDArray[np.float64]
    vectors: NDArray[np.float32]

    def at(self, rows: Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]) -> "SeenFrames":
        return SeenFrames(self.times[rows], self.vectors[rows])


SeenFilm: TypeAlias = tuple[list[Scene], SeenFrames]


@dataclass(frozen=True, slots=True)
class RenderedFilm:
    """A film with its scenes, and when its frames are shown."""

    scenes: list[Scene]
    path: Path
    table: FrameTable


def postcards() -> list[tuple[Image.Image, str]]:
    """All pictures with a caption each, somewhat larger than the film, so that it can pan over them."""
    images = json.loads((_POSTCARDS / "dataset_postcards.json").read_text())["images"]
    larger = _SIZE[0] * 9 // 8, _SIZE[1] * 9 // 8
    return [
        (
            Image.open(_POSTCARDS / "images" / each["filename"]).convert("RGB").resize(larger),
            each["sentences"][0]["raw"],
        )
        for each in images
    ]


def render(
    path: Path, cards: Sequence[tuple[Image.Image, str]], rng: np.random.Generator, *, varies: bool
) -> list[Scene]:
    """Render a film of some postcards; its scenes."""
    scenes: list[Scene] = []
    at = 0.0
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("libx264", rate=_RATE, options={"preset": "veryfast"})
        (stream.width, stream.height), stream.pix_fmt = _SIZE, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 12_000)
        before: Image.Image | None = None
        for card, caption in cards:
            seconds, manner = rng.uniform(1, 9), rng.choice(["cut", "pan", "fade"])
            begins = at
            while at < begins + seconds:
                share = (at - begins) / seconds if manner == "pan" else 0.5
                left = round(share * (card.width - _SIZE[0]))
                image = card.crop((left, 9, left + _SIZE[0], 9 + _SIZE[1]))
                if manner == "fade" and before is not None and at - begins < _FADE_SECONDS:
                    image = Image.blend(before, image, (at - begins) / _FADE_SECONDS)
                frame = av.VideoFrame.from_ndarray(np.asarray(image), format="rgb24")
                frame.pts, frame.time_base = round(at * 12_000), Fraction(1, 12_000)
                container.mux(stream.encode(frame))
                at += (rng.choice([0.5, 1.0, 2.5]) if varies else 1.0) / _RATE
            before = image
            scenes.append(Scene(caption, begins, at))
        container.mux(stream.encode(None))
    return scenes


def see(path: Path, table: FrameTable, rows: NDArray[np.intp], encoder: Encoder) -> SeenFrames:
    """Encode frames of a film."""
    times = table.times[rows].tolist()
    with open_film(str(path), times) as film:
        pixels = [encoder.image.prepare(Image.fromarray(frame.pixels)) for frame in film.frames]
    vectors = [encoder.image.encode(np.stack(pixels[start : start + 64])) for start in range(0, len(pixels), 64)]
    return SeenFrames(np.array(times), np.concatenate(vectors))


def see_chosen(films: Sequence[RenderedFilm], choice: FrameChoice, encoder: Encoder) -> list[SeenFilm]:
    """Encode the frames of films that a choice wants."""
    return [(film.scenes, see(film.path, film.table, choose_frames(film.table, choice), encoder)) for film in films]


def judge(films: Sequence[SeenFilm], texts: NDArray[np.float32]) -> tuple[int, float, float]:
    """(frames, share of scenes that have one, R@1). texts: of the captions of all scenes, in their order."""
    vectors = np.concatenate([seen.vectors for _, seen in films])
    film_of = np.repeat(np.arange(len(films)), [len(seen.times) for _, seen in films])
    times = np.concatenate([seen.times for _, seen in films])
    scenes = [(number, scene) for number, (each, _) in enumerate(films) for scene in each]
    times = times + 0.001  # those of films are rounded to their clock
    within = np.array([(film_of == film) & (times >= scene.begins) & (times < scene.ends) for film, scene in scenes])
    best = (texts @ vectors.T).argmax(axis=1)
    return len(times), float(within.any(axis=1).mean()), float(within[np.arange(len(scenes)), best].mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=8)
    parser.add_argument("--vectors", type=Path)
    options = parser.parse_args()
    print(circumstances())
    encoder, rng, cards = encoders.open("demo", ["image", "text"]), np.random.default_rng(0), postcards()
    films: list[RenderedFilm] = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(options.films):
            chosen = rng.permutation(len(cards))[: rng.integers(4, 14)]
            path = Path(folder) / f"{number}.mp4"
            scenes = render(path, [cards[card] for card in chosen], rng, varies=number % 2 == 1)
            films.append(RenderedFilm(scenes, path, read_table(str(path))))
        texts = encoder.text.encode([scene.caption for film in films for scene in film.scenes]).vectors
        seconds = sum(film.table.end for film in films)
        print(f"{len(films)} films, {seconds:,.0f} s, {len(texts)} scenes")
        print(f"{'':<24}{'frames':>7}{'scenes seen':>13}{'R@1':>7}")
        looked_at = see_chosen(films, FrameChoice(), encoder)
        _show("looked at", judge(looked_at, texts))
        for alike in _THRESHOLDS:
            kept = [(scenes, seen.at(np.array(choose_new([*seen.vectors], alike)))) for scenes, seen in looked_at]
            judged = judge(kept, texts)
            _show(f"below a cosine of {alike:g}", judged)
            if alike in _COMPARED:
                many = FrameChoice("count", count=max(1, round(judged[0] / len(films))))
                _show("  as many of each film", judge(see_chosen(films, many, encoder), texts))
                many = FrameChoice("every", seconds / judged[0])
                _show("  as many, every x s", judge(see_chosen(films, many, encoder), texts))
        _show("key frames", judge(see_chosen(films, FrameChoice("keys"), encoder), texts))
    if options.vectors is not None:
        _show_others(np.load(options.vectors))


def _show(name: str, judged: tuple[int, float, float]) -> None:
    print(f"{name:<24}{judged[0]:>7,}{judged[1]:>13.3f}{judged[2]:>7.3f}", flush=True)


def _show_others(vectors: NDArray[np.floating]) -> None:
    images = (vectors[0] if vectors.ndim == 3 else vectors).astype(np.float64)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    cosines = (images @ images.T)[np.triu_indices(len(images), 1)]
    shares = ", ".join(f"{alike:g}: {(cosines >= alike).mean():.2g}" for alike in _THRESHOLDS)
    print(f"of {len(cosines):,} pairs of different pictures, by another model, are as alike: {shares}")


if __name__ == "__main__":
    main()
