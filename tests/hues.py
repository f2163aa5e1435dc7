"""An encoder that sees how much of a picture is red and how much blue, and a picture with a square of each."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.encoders import EncodedTexts, Encoder, HidesPlaces, Pixels
from mmsearch.identity import EncoderIdentity

SIDE = 32
HUES = {"red": (220, 30, 30), "blue": (40, 60, 220)}


class HueEncoder(Encoder):
    """An image is how much of it is red and how much blue; "red" and "blue" are the axes, other texts are neither."""

    def __init__(self, name: str = "hues") -> None:
        super().__init__(EncoderIdentity(name, "sha256:" + "0" * 64, 3), {"image": _Hues(self), "text": _HueTexts()})
        self.encoded = 0


class _Hues(HidesPlaces):
    def __init__(self, encoder: HueEncoder) -> None:
        self._encoder = encoder

    def prepare(self, image: Image.Image) -> NDArray[np.float32]:
        small = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BILINEAR)
        return np.asarray(np.asarray(small, np.float32).transpose(2, 0, 1) / np.float32(255), np.float32)

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        self._encoder.encoded += len(pixels)
        colours = np.array([HUES[name] for name in ("red", "blue")], np.float32) / 255
        off = np.abs(pixels[:, None] - colours[None, :, :, None, None]).sum(2)
        shares = (np.maximum(0, 1 - off)).mean((2, 3)) * 4
        vectors = np.hstack([shares, np.full((len(pixels), 1), 0.5)])
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    def encode_hidden(
        self, pixels: NDArray[np.float32], masks_of: Callable[[int, int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """What is hidden has the mean of all colours."""
        masks = masks_of(SIDE, SIDE)[:, None]
        before = self._encoder.encoded
        vectors = self.encode(pixels * (1 - masks) + pixels.mean((1, 2))[:, None, None] * masks)
        self._encoder.encoded = before
        return vectors


class _HueTexts:
    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        vectors = np.array([self._vector(text) for text in texts], np.float32)
        return EncodedTexts(vectors, np.zeros(len(texts), np.bool_))

    def _vector(self, text: str) -> NDArray[np.float64]:
        there = np.array(["red" in text, "blue" in text, False], float)
        vector = there if there.any() else np.array([-1.0, -1.0, 0.0])
        return np.asarray(vector / np.linalg.norm(vector))


RED_SQUARE, BLUE_SQUARE = (0.1, 0.125, 0.3, 0.375), (0.7, 0.625, 0.9, 0.875)


def middle(box: Sequence[float]) -> tuple[float, float]:
    """Of left, top, right, bottom."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def two_squares(file: Path) -> Path:
    """160 x 80, green, with a red square at the left and a blue one at the right below: `RED_SQUARE`, `BLUE_SQUARE`."""
    pixels = np.full((80, 160, 3), (90, 200, 90), np.uint8)
    pixels[10:30, 16:48] = HUES["red"]
    pixels[50:70, 112:144] = HUES["blue"]
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(file)
    return file
