"""A gallery with hubs: some of its pictures are near to everything that texts say. Its captions know their pictures."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmsearch.calibration import calibrate
from mmsearch.encoders import EncodedTexts, Encoder
from mmsearch.gallery import open_writer
from mmsearch.identity import EncoderIdentity
from mmsearch.items import CaptionRow, ImageRow
from tests.vectors import unit_vectors

DIM = 16
IDENTITY = EncoderIdentity("hubby", "sha256:4b1d", DIM)


class NumberedTexts:
    """A text is a number, which says what it asks for: it lies near the picture of that number."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        vectors = np.stack([self._world.said(text) for text in texts])
        return EncodedTexts(vectors, np.zeros(len(texts), np.bool_))


class World(Encoder):
    """Pictures and texts with a modality gap; every tenth picture is a hub. hubs: how much; None: no picture is nearer
    to where the texts are than another."""

    def __init__(self, pictures: int = 300, seed: int = 0, *, hubs: float | None = 2.5) -> None:
        rng = np.random.default_rng(seed)
        self._meanings = rng.normal(size=(pictures, DIM))
        images = self._meanings + 0.3 * rng.normal(size=(pictures, DIM))
        if hubs is None:
            images[:, 0] = 0
        else:
            images[::10, 0] += hubs
        self.images: NDArray[np.float32] = unit_vectors(images).astype(np.float32)
        super().__init__(IDENTITY, {"text": NumberedTexts(self)})

    def said(self, text: str) -> NDArray[np.float32]:
        """What is said of the picture of that number, or of nothing at all; otherwise for each text."""
        rng = np.random.default_rng(list(text.encode()))
        word = text.split()[0]
        meaning = self._meanings[int(word)] if word.isdigit() else rng.normal(size=DIM)
        vector = meaning + rng.normal(size=DIM)
        vector[0] += 2
        return unit_vectors(vector).astype(np.float32)


def write_calibrated(folder: Path, world: World, pictures: int) -> Path:
    """A gallery of the first pictures with a caption each, calibrated."""
    write(folder, world, pictures=range(pictures), captions=[f"{n} said once" for n in range(pictures)])
    calibrate(folder)
    return folder


def date_of(picture: int) -> datetime | None:
    """When it was taken; of some that is not known."""
    return datetime(2001, 1, 1) + timedelta(days=picture * 7 % 365) if picture % 13 else None


def write(folder: Path, world: World, *, pictures: Sequence[int], captions: Sequence[str] = ()) -> None:
    """Add pictures of the world to a gallery, and captions, as "17 said so", each of the picture of its number."""
    with open_writer(folder, command="tests") as writer:
        writer.set_encoder(IDENTITY)
        rows = [ImageRow(1, f"{n}.jpg", None, 1, 1, None, bytes(16), n, 1, date_of(n)) for n in pictures]
        if rows:
            writer.append("images", rows, world.images[list(pictures)])
        if captions:
            texts = [CaptionRow(text, 1, f"{text.split()[0]}.jpg", None, "f", n) for n, text in enumerate(captions)]
            writer.append("captions", texts, np.stack([world.said(text) for text in captions]))
        writer.commit()
