"""JPEG by libjpeg-turbo (simplejpeg): twice as fast as Pillow with its resize, and scaled while it is decoded."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["FORMATS", "MODES", "decode", "detail", "is_ribbon"]

FORMATS = frozenset({"JPEG", "MPO"})  # of an MPO the first picture, which is a JPEG
MODES = frozenset({"RGB", "L"})  # CMYK has inverted relatives that Pillow knows
# The scales whose inverse transforms are vectorised: 5/8, say, takes longer than the whole, and comes out worse.
_SCALES = (8, 4, 2)
# Of a ribbon only the middle is wanted (see mmsearch.encoders.preprocessing); ribbons are rare, and Pillow's.
_RIBBON = 64
# A scaled decode keeps what is finer than its pixels as noise; resizing leaves the less of it, the smaller the result.
# Photographs have a twentieth of this; a screen full of text, stripes and halftones have more, and came out at 45 dB.
_DETAIL = 90.0


def is_ribbon(width: int, height: int) -> bool:
    """Whether so little of a picture is wanted that it is not resized whole."""
    return max(width, height) > _RIBBON * min(width, height)


def decode(data: bytes, width: int, height: int, at_least: int) -> tuple[NDArray[np.uint8], int] | None:
    """The stored picture and its scale (see `StoredImage`); None where libjpeg finds anything wrong with the file.

    width, height: as stored. at_least: see `mmsearch.images.decode_fast`. A picture that is too full of detail for a
    fraction is decoded at a larger one, at last at its full size."""
    import simplejpeg

    if is_ribbon(width, height):
        return None
    short = min(width, height)
    for scale in (*(each for each in _SCALES if short >= at_least * each), 1):
        size = -(-height // scale), -(-width // scale)
        try:
            pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
                data, "RGB", min_height=size[0], min_width=size[1], min_factor=1
            )
        except (ValueError, RuntimeError, MemoryError):
            return None
        if pixels.shape != (*size, 3):  # a thumbnail in front, a size that is not so
            return None
        if scale == 1 or detail(pixels) <= _DETAIL * (short / (at_least * scale)) ** 2:
            break
    _mend_edges(pixels, height % scale, width % scale)
    return pixels, scale


def detail(pixels: NDArray[np.uint8]) -> float:
    """How much a picture (h, w, 3) changes from pixel to pixel, as the variance of white noise that changes as much.

    The green of every eighth row is looked at.

    >>> detail(np.full((16, 16, 3), 7, np.uint8))
    0.0
    """
    green = pixels[:, :, 1]
    above, here, below = (green[row : len(green) - 2 + row : 8].astype(np.int16) for row in range(3))
    change = 4 * here[:, 1:-1] - here[:, :-2] - here[:, 2:] - above[:, 1:-1] - below[:, 1:-1]
    return float(np.square(change, dtype=np.float32).mean()) / 20 if change.size else 0.0


def _mend_edges(pixels: NDArray[np.uint8], rows_over: int, columns_over: int) -> None:
    """Have the last row and column, of which only a part belongs to the picture, repeat those before them.

    JPEG is stored in whole blocks. What stands beyond the picture in the last ones is for whoever wrote it to choose (a
    phone's own encoder leaves it black), and a scaled decode mixes that into the last pixels."""
    if rows_over and len(pixels) > 1:
        pixels[-1] = pixels[-2]
    if columns_over and pixels.shape[1] > 1:
        pixels[:, -1] = pixels[:, -2]
