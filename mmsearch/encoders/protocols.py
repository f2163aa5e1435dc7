"""The sides of an encoder: what each takes and gives. Arrays go in and come out.

`ImageSide` and `TextSide` are protocols with defaults: a provider derives from them and writes `prepare` and `encode`,
and whatever it can do better than the default.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import PIL.Image

__all__ = [
    "DecodesJpeg",
    "EncodedImages",
    "EncodedTexts",
    "FastPreprocessing",
    "HidesPlaces",
    "ImageLane",
    "ImageSide",
    "JpegDecoder",
    "Pixels",
    "Side",
    "TextSide",
]

Pixels: TypeAlias = NDArray[np.float32] | NDArray[np.uint8]
"""Images as they are encoded: float32 (n, 3, H, W), normalised, or uint8 (n, H, W, 3), normalised on the device."""


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


ImageLane: TypeAlias = Callable[[Pixels], EncodedImages]
"""Encodes images, for one thread at a time."""


class FastPreprocessing(Protocol):
    """The checkpoint's validation transform up to its 8-bit pixels; the normalisation is left to the device.

    Thread-safe. All of it agrees with `ImageSide.prepare`; how well is for `embed` to measure.
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
        """Mean squared difference, in 1/255ths, of (H, W, 3) from what `ImageSide.prepare` gave (3, H, W)."""
        ...


class Side(Protocol):
    """One kind of input -> vectors that compare with those of the encoder's other sides."""

    def prepare(self, item: Any) -> NDArray[np.float32]:
        """One item -> an array of a shape that all items have. Thread-safe."""
        ...

    def encode(self, prepared: Any) -> NDArray[np.float32]:
        """n of what `prepare` gave, stacked -> float32 (n, dim), L2-normalised. Raises EncoderError."""
        ...


class ImageSide(Protocol):
    """The side that takes images. `prepare` and `encode` have to be written, the rest has defaults."""

    @property
    def fast(self) -> FastPreprocessing | None:
        """The quick way to pixels; None where there is only `prepare`."""
        return None

    @property
    def size(self) -> tuple[int, int] | None:
        """(H, W) of what the model takes; None where that is not known."""
        return None if self.fast is None else self.fast.size

    def prepare(self, image: "PIL.Image.Image") -> NDArray[np.float32]:
        """An upright RGB image -> (3, H, W), by exactly the checkpoint's own validation transform. Thread-safe.

        H and W are the same for all images, unless the side has a `stack` of its own."""
        ...

    def stack(self, prepared: Sequence[Pixels]) -> Pixels:
        """Some of what `prepare` gave, or `fast`, as one array for `encode`. A side whose pictures become arrays of
        different sizes brings them to one here."""
        return cast(Pixels, np.stack(prepared))

    def encode(self, pixels: Pixels) -> NDArray[np.float32]:
        """(n, 3, H, W) from `prepare` or (n, H, W, 3) from `fast` -> float32 (n, dim), L2-normalised.

        Raises EncoderError.
        """
        ...

    def encode_reference(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """As `encode`, from `prepare`, in fp32 whatever the precision: what all else is held against."""
        return self.encode(pixels)

    def lanes(self, threads: int) -> AbstractContextManager[tuple[ImageLane, ...]]:
        """Several `encode` that work at the same time, each for one thread at a time, for as long as the context is
        open. On a CPU they share `threads` cores; on GPUs there are some for each GPU. By default there is one."""
        return _one_lane(self)


class TextSide(Protocol):
    """The side that takes texts. It prepares them (tokens, and what of them is cut) as it encodes them."""

    def encode(self, texts: Sequence[str]) -> EncodedTexts:
        """n texts -> their vectors. Raises EncoderError."""
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
class HidesPlaces(ImageSide, Protocol):
    """An image side that can hide places of a picture from its last blocks alone, for a quick look. What an image side
    need not have."""

    def encode_hidden(
        self, pixels: NDArray[np.float32], masks_of: Callable[[int, int], NDArray[np.float32]]
    ) -> NDArray[np.float32]:
        """(3, H, W) from `prepare` -> float32 (n, dim), L2-normalised, one of each mask.

        masks_of: rows and columns of places -> (n, rows, columns), 1 where a place is hidden. Raises EncoderError.
        """
        ...


@runtime_checkable
class DecodesJpeg(Protocol):
    """An image side whose device can decode JPEG too. What an image side need not have."""

    def why_no_jpeg_decoder(self) -> str | None:
        """Why its device decodes no JPEG, as the second half of a sentence; None where it does."""
        ...

    def jpeg_decoder(self) -> AbstractContextManager[JpegDecoder]:
        """Decodes on its device for as long as the context is open."""
        ...


@contextmanager
def _one_lane(side: ImageSide) -> Iterator[tuple[ImageLane, ...]]:
    def encode(pixels: Pixels) -> EncodedImages:
        started = time.perf_counter()
        vectors = side.encode(pixels)
        return EncodedImages(vectors, 0.0, time.perf_counter() - started)

    yield (encode,)
