"""Galleries of seeded synthetic vectors with a modality gap, for measuring indexes without a model or pictures.

    python -m scripts.synthetic_gallery FOLDER --rows 1000000 [--dim 512] [--captions 0] [--linked] [--dated] [--seed 0]

What is imitated are means measured on CLIP's own vectors: cosine .50 between images, .57 between texts, .09 between an
image and a text; and that near neighbours of a text lie in more places than those of an image. With --linked each
caption says what an image of the gallery shows and names it. With --dated images have dates of a quarter of a century,
more of the later years, and places.
"""

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import CaptionRow, ImageRow

__all__ = ["BLOCK", "Synthetic", "write_gallery"]

BLOCK = 65_536
_FIRST_DAY = datetime(2000, 1, 1)
_TOPICS = 100_000
_IMAGE_IMAGE, _TEXT_TEXT, _BETWEEN_MEANS = 0.50, 0.57, 0.17
_SPREAD = 0.35  # of images within their topic
_DECAY = 0.7  # of the spectrum: few directions carry most of what distinguishes images
_FOR_TEXT = 0.6  # cosine of what a text says and what its image shows, means taken away


class Synthetic:
    """Images and texts of one world. Every block depends on the seed and its number alone."""

    def __init__(self, dim: int = 512, seed: int = 0) -> None:
        rng = np.random.default_rng([seed, 1])
        self.dim, self._seed = dim, seed
        basis = np.linalg.qr(rng.standard_normal((dim, dim)))[0].astype(np.float32)
        self._image_mean: NDArray[np.float32] = basis[0]
        text_mean = _BETWEEN_MEANS * basis[0] + np.sqrt(1 - _BETWEEN_MEANS**2) * basis[1]
        self._text_mean: NDArray[np.float32] = text_mean.astype(np.float32)
        self._basis: NDArray[np.float32] = basis[2:]
        spectrum = np.arange(1, dim - 1, dtype=np.float32) ** -_DECAY
        self._spectrum = spectrum / np.linalg.norm(spectrum)
        self._topics = rng.standard_normal((_TOPICS, dim - 2), dtype=np.float32) * self._spectrum
        share = np.arange(1, _TOPICS + 1) ** -0.7
        self._cumulative = np.cumsum(share / share.sum())

    def images(self, block: int, count: int = BLOCK) -> NDArray[np.float32]:
        """(count, dim), of about unit length."""
        shown = self._content(np.random.default_rng([self._seed, 2, block]), count) @ self._basis
        return _root(_IMAGE_IMAGE) * self._image_mean + _root(1 - _IMAGE_IMAGE) * shown

    def texts(self, count: int, stream: int = 0) -> NDArray[np.float32]:
        """(count, dim), of about unit length; other texts for each stream."""
        rng = np.random.default_rng([self._seed, 3, stream])
        return self._saying(self._content(rng, count), rng)

    def texts_of(self, images: NDArray[np.float32], stream: int = 0) -> NDArray[np.float32]:
        """A text of each image, (count, dim), as `texts` are: what it says is near to what that image shows."""
        rng = np.random.default_rng([self._seed, 5, stream])
        return self._saying(_unit(images @ self._basis.T), rng)

    def _saying(self, content: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
        said = _FOR_TEXT * content
        said += np.sqrt(1 - _FOR_TEXT**2) * _unit(self._noise(rng, len(content)))
        return _root(_TEXT_TEXT) * self._text_mean + _root(1 - _TEXT_TEXT) * (_unit(said) @ self._basis)

    def _content(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        topic = np.searchsorted(self._cumulative, rng.random(count))
        return _unit(self._topics[topic] + np.float32(_SPREAD) * self._noise(rng, count))

    def _noise(self, rng: np.random.Generator, count: int) -> NDArray[np.float32]:
        return rng.standard_normal((count, len(self._spectrum)), dtype=np.float32) * self._spectrum


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _root(share: float) -> np.float32:
    return np.float32(math.sqrt(np.float32(share)))


def write_gallery(
    folder: Path,
    rows: int,
    *,
    dim: int = 512,
    captions: int = 0,
    linked: bool = False,
    dated: bool = False,
    seed: int = 0,
) -> None:
    """Write a gallery of `rows` images, and captions of their world.

    linked: each caption says what an image of its own shows, and names it, so that there are at most as many as images;
    else none is that of an image. dated: images have a date and a place.
    """
    world = Synthetic(dim, seed)
    described = np.linspace(0, rows - 1, min(captions, rows) if linked else 0).astype(np.int64)
    said = [] if linked else [world.texts(captions, stream=1)]
    with open_writer(folder, command="synthetic") as writer:
        writer.set_encoder(EncoderIdentity("synthetic", f"declared:synthetic-{dim}-{seed}", dim))
        for block, size in enumerate(_blocks(rows)):
            first = block * BLOCK
            made = [
                ImageRow(1, _path(n), None, None, None, None, None, None, None, None)
                for n in range(first, first + size)
            ]
            if dated:
                made = _dated(made, np.random.default_rng([seed, 6, block]))
            vectors = world.images(block)[:size]
            writer.append("images", made, vectors)
            writer.commit()
            own = described[(described >= first) & (described < first + size)]
            said += [world.texts_of(vectors[own - first], stream=block)] if linked else []
        if captions:
            images: list[tuple[int | None, str | None]] = [(1, _path(n)) for n in described.tolist()]
            images = images or [(None, None)] * captions
            texts = [CaptionRow(f"caption {n}", *image, None, "synthetic", n) for n, image in enumerate(images)]
            writer.append("captions", texts, np.concatenate(said))
            writer.commit()


def _dated(rows: Sequence[ImageRow], rng: np.random.Generator) -> list[ImageRow]:
    """Rows with a date, but for one in a hundred, and a place for every other."""
    days = 25 * 365 * rng.beta(3, 1.5, len(rows))
    places = rng.uniform((-60, -180), (70, 180), (len(rows), 2)).tolist()
    return [
        replace(row, taken_at=None if n % 100 == 1 else _FIRST_DAY + timedelta(day), lat=lat, lon=lon)
        if n % 2
        else replace(row, taken_at=_FIRST_DAY + timedelta(day))
        for n, (row, day, (lat, lon)) in enumerate(zip(rows, days.tolist(), places, strict=True))
    ]


def _path(number: int) -> str:
    return f"{number // 1000:06}/{number:09}.jpg"


def _blocks(rows: int) -> Iterator[int]:
    for start in range(0, rows, BLOCK):
        yield min(BLOCK, rows - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where; a gallery that is not there yet")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dim", type=int, default=512)
    parser.add_argument("--captions", type=int, default=0)
    parser.add_argument("--linked", action="store_true", help="captions of its images")
    parser.add_argument("--dated", action="store_true", help="images with dates and places")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_gallery(**vars(options))


if __name__ == "__main__":
    main()
