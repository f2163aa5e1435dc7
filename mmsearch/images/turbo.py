"""JPEG by libjpeg-turbo (simplejpeg): twice as fast as Pillow with its resize, and scaled while it is decoded."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "MODES", "decode"]

FORMATS = frozenset({"JPEG", "MPO"})  # of an MPO the first picture, which is a JPEG
MODES = frozenset({"RGB", "L"})  # CMYK has inverted relatives that Pillow knows
# The scales whose inverse transforms are vectorised: 5/8, say, takes longer than the whole, and comes out worse.
_SCALES = (8, 4, 2)
# Of a ribbon only the middle is wanted (see mmsearch.encoders.preprocessing); ribbons are rare, and Pillow's.
_RIBBON = 64


def decode(data: bytes, width: int, height: int, at_least: int) -> tuple[NDArray[np.uint8], int] | None:
    """The stored picture and its scale (see `StoredPicture`); None where libjpeg finds anything wrong with the file.

    width, height: as stored. at_least: see `mmsearch.images.decode_fast`."""
    import simplejpeg

    if max(width, height) > _RIBBON * min(width, height):
        return None
    scale = next((each for each in _SCALES if min(width, height) >= at_least * each), 1)
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // scale), min_width=-(-width // scale), min_factor=1
        )
    except (ValueError, RuntimeError, MemoryError):
        return None
    if pixels.shape != (-(-height // scale), -(-width // scale), 3):  # a thumbnail in front, a size that is not so
        return None
    return pixels, scale
