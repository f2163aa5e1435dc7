"""From the bytes of a picture to the pixels that a model takes: by the fast way and by the exact one."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from mmsearch import images
from mmsearch.boxes import Box
from mmsearch.encoders import FastPreprocessing, ImageSide
from mmsearch.errors import ImageError
from mmsearch.loading.records import DecodeGroup

__all__ = [
    "MARGIN",
    "FastAndExact",
    "apply_transform",
    "decode_to_ask",
    "group_of",
    "least_raw_side",
    "load_fast_and_exact",
    "load_pixels",
    "make_reference",
    "resize",
]

# What is decoded at a fraction of its size stays this many times larger than what it is resized to. At twice, stripes
# and halftones come out at 30 dB; at three times at 40, and photographs at 52 to 57.
MARGIN = 3
_RAW_MARGIN = 2  # of the picture beside raw data, which is the camera's own and stands for the photograph

_Array = TypeVar("_Array", NDArray[np.float32], NDArray[np.uint8])


@dataclass(frozen=True, slots=True)
class FastAndExact:
    """A picture by the fast way and by the exact one. Attributes: as of `LoadedFile`."""

    pixels: NDArray[np.uint8]
    group: DecodeGroup
    reference: NDArray[np.float32]
    pixel_error: float


def load_fast_and_exact(data: bytes, image_side: ImageSide, fast: FastPreprocessing) -> FastAndExact:
    """Load a picture both ways, as `load` does for one that is sampled. Raises ImageError."""
    picture = images.decode_fast(data, MARGIN * max(fast.size), raw_side=least_raw_side(image_side))
    pixels, reference = resize(fast, picture), make_reference(image_side, picture, data, images.MAX_PIXELS)
    return FastAndExact(pixels, group_of(picture), reference, fast.error(pixels, reference))


def load_pixels(data: bytes, fast: FastPreprocessing) -> NDArray[np.uint8]:
    """A file's bytes -> (H, W, 3), by the quick way of `load`. Raises ImageError."""
    side = MARGIN * max(fast.size)
    picture = images.decode_fast(data, side, raw_side=max(images.LEAST_RAW_SIDE, _RAW_MARGIN * max(fast.size)))
    return apply_transform(lambda: resize(fast, picture))


def make_reference(
    image_side: ImageSide, picture: images.DecodedImage | images.StoredImage, data: bytes, max_pixels: int
) -> NDArray[np.float32]:
    whole = picture if isinstance(picture, images.DecodedImage) else images.decode(data, max_pixels=max_pixels)
    return apply_transform(lambda: image_side.prepare(whole.image))


def least_raw_side(image_side: ImageSide) -> int:
    """The least side, in pixels, of a preview beside a camera's raw data that may be used in place of the data."""
    return images.LEAST_RAW_SIDE if image_side.size is None else _RAW_MARGIN * max(image_side.size)


def decode_to_ask(
    data: bytes, image_side: ImageSide, box: Box | None = None, *, max_pixels: int = images.MAX_PIXELS
) -> images.DecodedImage:
    """A picture that is asked with, or the part of it in a box, with the pixels that it has in its file. Raises
    ImageError."""
    raw_side = least_raw_side(image_side)
    if box is None:
        return images.decode(data, max_pixels=max_pixels, raw_side=raw_side)
    share = min(box.right - box.left, box.bottom - box.top)
    decoded = images.decode(data, max_pixels=max_pixels, raw_side=math.ceil(raw_side / share))
    part = images.crop(decoded, box)
    return replace(decoded, image=part, width=part.width, height=part.height)


def group_of(picture: images.DecodedImage | images.StoredImage) -> DecodeGroup:
    return DecodeGroup(picture.format, picture.orientation, _route_of(picture))


def resize(fast: FastPreprocessing, picture: images.DecodedImage | images.StoredImage) -> NDArray[np.uint8]:
    if isinstance(picture, images.DecodedImage):
        return fast.fit(picture.image)
    return fast.fit_array(picture.pixels, picture.scale, (picture.width, picture.height), picture.orientation)


def _route_of(picture: images.DecodedImage | images.StoredImage) -> str:
    if isinstance(picture, images.DecodedImage):
        return "pillow"
    return "turbo" if picture.scale == 1 else f"turbo/{picture.scale}"


def apply_transform(resize: Callable[[], _Array]) -> _Array:
    """Apply a transform to a picture. Raises ImageError where that fails, as for a picture that is one pixel high."""
    try:
        return resize()
    except (ValueError, RuntimeError, ArithmeticError) as error:
        raise ImageError("resize", " ".join(str(error).split())[:120]) from error
