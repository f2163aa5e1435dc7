"""A torch-free encoder that understands colours, so that end-to-end tests are quick and their answers foreseeable."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encoders import EncodedImages, EncodedTexts, Encoder, ImageLane, ImageSide, Pixels
from mmsearch.identity import EncoderIdentity
from mmsearch.sources import OpenFile, SourceFile, open_source_file
from tests.vectors import random_unit_vectors, unit_vectors

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 180, 60),
    "blue": (40, 60, 220),
    "yellow": (240, 220, 40),
    "white": (250, 250, 250),
    "black": (5, 5, 5),
}
SIDE = 4
CONTEXT = 20  # words that a text may have before it is cut


class FakeEncoder(Encoder):
    """An image is its 4 x 4 thumbnail, a colour's name is a picture of that colour, any other text is noise.

    Its sides ask it for everything: a test that wants something else of it overrides the method.
    """

    def __init__(self, name: str = "fake", *, seed: int = 0, device: str = "cpu") -> None:
        digest = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
        identity = EncoderIdentity(name, f"sha256:{digest}", 3 * SIDE * SIDE + 1)
        super().__init__(identity, {"image": FakeImages(self), "text": FakeTexts(self)}, device=device)
        self.images_encoded = 0
        self.texts_encoded = 0

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255) - np.float32(0.5)

    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        self.images_encoded += len(pixels)
        flat = np.concatenate([pixels.reshape(len(pixels), 3 * SIDE * SIDE), np.full((len(pixels), 1), 0.3)], axis=1)
        return unit_vectors(flat).astype(np.float32)

    def lanes(self, threads: int) -> AbstractContextManager[tuple[ImageLane, ...]]:
        return nullcontext((self._timed,) * threads)

    def _timed(self, pixels: Pixels) -> EncodedImages:
        return EncodedImages(self.encode_images(pixels), 0.0, 0.001)

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        self.texts_encoded += len(texts)
        vectors = np.array([self._encode_text(text) for text in texts], np.float32).reshape(-1, self.identity.dim)
        return EncodedTexts(vectors, np.array([len(text.split()) > CONTEXT for text in texts], dtype=np.bool_))

    def _encode_text(self, text: str) -> NDArray[np.float32]:
        """(1, dim)"""
        for word in text.lower().split():
            if word in COLOURS:
                return self.encode_images(self.preprocess(Image.new("RGB", (8, 8), COLOURS[word]))[np.newaxis])
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        return random_unit_vectors(np.random.default_rng(seed), 1, self.identity.dim)


class FakeImages(ImageSide):
    """Images, as `FakeEncoder` encodes them."""

    def __init__(self, encoder: FakeEncoder) -> None:
        self._encoder = encoder

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return self._encoder.preprocess(image)

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        return self._encoder.encode_images(pixels)

    def lanes(self, threads: int) -> AbstractContextManager[tuple[ImageLane, ...]]:
        return self._encoder.lanes(threads)


class FakeTexts:
    """Texts, as `FakeEncoder` encodes them."""

    def __init__(self, encoder: FakeEncoder) -> None:
        self._encoder = encoder

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        return self._encoder.encode_texts(texts)


def provide(monkeypatch: pytest.MonkeyPatch, make: Callable[[str], Encoder] = FakeEncoder) -> None:
    """Every spec is that of an encoder which `make` makes of it: all that `encoders.open` opens from now on."""
    monkeypatch.setattr("mmsearch.encoders.providers.provider_of", lambda _: lambda request: make(request.spec))


def write_picture(file: Path, colour: str = "red", *, size: tuple[int, int] = (16, 12), seed: int = 0) -> Path:
    """A picture mostly of one colour, different for each seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 20, size=(size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def jpeg(size: tuple[int, int], seed: int = 0, orientation: int = 1, **options: Any) -> bytes:
    """A smooth picture, no two of which are alike. options: as of Pillow."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    picture.save(out, "JPEG", quality=92, exif=exif, **options)
    return out.getvalue()


def when_opened(patch: pytest.MonkeyPatch, then: Callable[[SourceFile], object]) -> None:
    """Have something happen to each file after `load` has looked at its size and time, and before it reads it."""

    @contextmanager
    def opening(file: SourceFile) -> Iterator[OpenFile]:
        with open_source_file(file) as source:

            def state() -> SourceFile:
                now = source.state()
                then(file)
                return now

            yield OpenFile(source.stream, state)

    patch.setattr("mmsearch.loading.reading.open_source_file", opening)
