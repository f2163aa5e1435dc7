"""What an encoder is to everybody else: arrays go in and come out."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mmsearch.identity import EncoderIdentity

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "DecodesJpeg",
    "EncodedImages",
    "EncodedTexts",
    "Encoder",
    "FastPreprocessing",
    "JpegDecoder",
    "Pixels",
    "TextEncoder",
]

Pixels: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]
"""One image or a batch of them: float32 (..., 3, H, W) from `Encoder.preprocess`, which normalises; or uint8
(..., H, W, 3) from `Encoder.fast`, which leaves that to the device."""


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts as vectors. vectors: float32 (n, dim), L2-normalised, in the order of the texts.

    truncated: bool (n,), True where a text was longer than the model's context and its end did not count.
    """

    vectors: NDArray[np.float32]
    truncated: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EncodedImages:
    """Images as vectors. vectors: float32 (n, dim), L2-normalised. The seconds are the device's own."""

    vectors: NDArray[np.float32]
    transfer_seconds: float
    encode_seconds: float


class FastPreprocessing(Protocol):
    """The checkpoint's validation transform up to its 8-bit pixels; the normalisation is left to the device.

    Thread-safe. All of it agrees with `Encoder.preprocess`; how well is for `embed` to measure.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of what the model takes."""
        ...

    def fit(self, image: "PIL.Image.Image") -> NDArray[np.uint8]:
        """An upright RGB image -> (H, W, 3)."""
        ...

    def fit_array(
        self, pixels: NDArray[np.uint8], scale: int, size: tuple[int, int], orientation: int
    ) -> NDArray[np.uint8]:
        """A stored picture (h, w, 3), at 1 / scale of its size -> (H, W, 3).

        size: (width, height) at full scale, upright. orientation: EXIF, 1 to 8, which makes it upright.
        """
        ...

    def error(self, pixels: NDArray[np.uint8], reference: NDArray[np.float32]) -> float:
        """Mean squared difference, in 1/255ths, of (H, W, 3) from what `Encoder.preprocess` gave (3, H, W)."""
        ...


class TextEncoder(Protocol):
    """The text side of a model."""

    @property
    def identity(self) -> EncoderIdentity:
        """Which encoder this is, independent of device and precision."""
        ...

    def encode_texts(self, texts: Sequence[str]) -> EncodedTexts:
        """n texts -> their vectors. Raises EncoderError."""
        ...


class Encoder(TextEncoder, Protocol):
    """A model with an image side and a text side whose vectors compare."""

    @property
    def device(self) -> str:
        """Where it runs, for people: "cpu", "cuda: NVIDIA H100 80GB HBM3", "mps"."""
        ...

    @property
    def precision(self) -> str:
        """What it computes in: "fp32", "fp16", "bf16" or "int8". Vectors are float32 in each case."""
        ...

    @property
    def fast(self) -> FastPreprocessing | None:
        """The quick way to pixels; None where there is only `preprocess`."""
        ...

    def preprocess(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An RGB image -> (3, H, W), by exactly the checkpoint's own validation transform. Thread-safe."""
        ...

    def encode_images(self, pixels: Pixels) -> NDArray[np.float32]:
        """(n, 3, H, W) from `preprocess` or (n, H, W, 3) from `fast` -> float32 (n, dim), L2-normalised.

        Raises EncoderError.
        """
        ...

    def encode_reference(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `encode_images`, from `preprocess`, in fp32 whatever the precision: what all else is held against."""
        ...

    def lanes(self, threads: int) -> AbstractContextManager[tuple[Callable[[Pixels], EncodedImages], ...]]:
        """Several `encode_images` that work at the same time, each for one thread at a time, for as long as the context
        is open. On a CPU they share `threads` cores; on GPUs there are some for each GPU."""
        ...


class JpegDecoder(Protocol):
    """Decodes and resizes JPEG on a GPU, for many threads at once: the route "nvjpeg"."""

    @property
    def threads(self) -> int:
        """How many batches it works on at the same time."""
        ...

    @property
    def seconds(self) -> float:
        """How long that work has taken until now, added up."""
        ...

    def fit(self, data: bytes, size: tuple[int, int], orientation: int) -> NDArray[np.uint8] | None:
        """A JPEG -> (H, W, 3), upright, as `FastPreprocessing.fit_array`; None where it does not take this one.

        size: (width, height), upright. orientation: EXIF, 1 to 8. Waits for its turn. Thread-safe.
        """
        ...


@runtime_checkable
class DecodesJpeg(Protocol):
    """An encoder whose device can decode JPEG too. What an encoder need not have."""

    def why_no_jpeg_decoder(self) -> str | None:
        """Why its device decodes no JPEG, as the second half of a sentence; None where it does."""
        ...

    def jpeg_decoder(self) -> AbstractContextManager[JpegDecoder]:
        """Decodes on its device for as long as the context is open."""
        ...
