"""A torch-free encoder that understands colours, so that end-to-end tests are quick and their answers foreseeable."""

import hashlib
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encoders import EncodedImages, EncodedTexts, FastPreprocessing, Pixels
from mmsearch.identity import EncoderIdentity

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


class FakeEncoder:
    """An image is its 4 x 4 thumbnail, a colour's name is a picture of that colour, any other text is noise."""

    device = "cpu"
    precision = "fp32"
    fast: FastPreprocessing | None = None

    def __init__(self, name: str = "fake", *, seed: int = 0) -> None:
        digest = hashlib.sha256(f"{name} {seed}".encode()).hexdigest()
        self.identity = EncoderIdentity(name, f"sha256:{digest}", 3 * SIDE * SIDE + 1)
        self.images_encoded = 0
        self.texts_encoded = 0

    def preprocess(self, image: Image.Image) -> NDArray[np.float32]:
        small = image.resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255) - np.float32(0.5)

    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        self.images_encoded += len(pixels)
        return _unit(np.concatenate([pixels.reshape(len(pixels), -1), np.full((len(pixels), 1), 0.3)], axis=1))

    def encode_reference(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.encode_images(pixels)

    @contextmanager
    def lanes(self, threads: int) -> Iterator[tuple[Callable[[Pixels], EncodedImages], ...]]:
        yield (self._timed,) * threads

    def _timed(self, pixels: Pixels) -> EncodedImages:
        return EncodedImages(self.encode_images(pixels), 0.0, 0.001)

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        self.texts_encoded += len(texts)
        vectors = np.concatenate([self._encode_text(text) for text in texts])
        return EncodedTexts(vectors, np.array([len(text.split()) > CONTEXT for text in texts]))

    def _encode_text(self, text: str) -> NDArray[np.float32]:
        """(1, dim)"""
        for word in text.lower().split():
            if word in COLOURS:
                return self.encode_images(self.preprocess(Image.new("RGB", (8, 8), COLOURS[word]))[np.newaxis])
        seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest())
        return _unit(np.random.default_rng(seed).normal(size=(1, self.identity.dim)))


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return unit


def write_picture(file: Path, colour: str = "red", *, size: tuple[int, int] = (16, 12), seed: int = 0) -> Path:
    """A picture mostly of one colour, different for each seed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).integers(-20, 20, size=(size[1], size[0], 3))
    pixels = np.clip(np.array(COLOURS[colour]) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file)
    return file


def jpeg(size: tuple[int, int], seed: int = 0, orientation: int = 1, **options: object) -> bytes:
    """A smooth picture, no two of which are alike. options: as of Pillow."""
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    picture = Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)
    picture.save(out, "JPEG", quality=92, exif=exif, **options)  # type: ignore[arg-type]
    return out.getvalue()
