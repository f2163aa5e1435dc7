"""A provider of encoders with a third side, as a package of its own would have it: what is bright, loud or high."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encoders import EncodedTexts, Encoder, EncoderRequest, ImageSide, Pixels
from mmsearch.errors import EncoderError
from mmsearch.identity import EncoderIdentity

BANDS = 12
WORDS = {"dark": 0, "dim": 4, "bright": 8}  # the first of the bands that a word means


class Images(ImageSide):
    """How many pixels are how bright."""

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        return np.asarray(image.convert("L").convert("RGB").resize((16, 16)), np.float32).transpose(2, 0, 1)

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        grey = pixels[:, 0].reshape(len(pixels), 256)
        return unit(np.array([np.histogram(row, BANDS, (0, 256))[0] for row in grey]).reshape(-1, BANDS) + 0.1)


class Texts:
    """The bands of the words that a text holds, and a little of its own."""

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        own = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)[:BANDS] / 2550 for text in texts]
        bands = np.array(own).reshape(-1, BANDS)
        for row, text in zip(bands, texts, strict=True):
            for word in set(text.split()) & WORDS.keys():
                row[WORDS[word] : WORDS[word] + 4] += 1
        return EncodedTexts(unit(bands), np.zeros(len(texts), np.bool_))


class Sounds:
    """How loud a sound is at which pitch."""

    def prepare(self, item: Sequence[float]) -> NDArray[np.float32]:
        return np.resize(np.asarray(item, np.float32), 2 * BANDS * 8)

    def encode(self, prepared: NDArray[np.float32]) -> NDArray[np.float32]:
        return unit(np.abs(np.fft.rfft(prepared, axis=1))[:, 1:].reshape(-1, BANDS, 8).sum(axis=2) + 0.1)


def open_encoder(request: EncoderRequest) -> Encoder:
    if request.name != "plain":
        raise EncoderError(f"there is no {request.spec}; there is sound:plain")
    identity = EncoderIdentity(request.spec, f"sha256:{hashlib.sha256(b'sound plain 1').hexdigest()}", BANDS)
    return Encoder(identity, {"image": Images(), "text": Texts(), "sound": Sounds()})


def unit(bands: NDArray[np.float64]) -> NDArray[np.float32]:
    vectors: NDArray[np.float32] = (bands / np.linalg.norm(bands, axis=1, keepdims=True)).astype(np.float32)
    return vectors
