"""A JPEG that ends too early: all of it where only the end marker is missing, else the rows that are there."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

__all__ = ["LEAST_ROWS", "read_truncated"]

LEAST_ROWS = 16
"""Of a JPEG with fewer whole rows there is no picture. Sixteen are one row of its blocks: whoever keeps the file is
shown whatever can be seen, told that it is damaged, and can leave such pictures out."""

_END = b"\xff\xd9"
_GREY = 128  # what libjpeg makes of blocks that never came


def read_truncated(data: bytes) -> tuple[JpegImagePlugin.JpegImageFile, Image.Image | None] | None:
    """The image with its pixels, and where any are missing, its rows from the first to the last that is whole.

    None where nothing can be seen. A grey rest is cut off, since a model would see a grey picture in it. What is left
    of a progressive JPEG has all rows, and less detail than it had."""
    image = JpegImagePlugin.JpegImageFile(io.BytesIO(data + _END), "")
    image.load()
    if _is_whole(data, image.mode):
        return image, None
    kept = _whole_rows(image)
    if kept < min(LEAST_ROWS, image.height):
        return None
    return image, image.crop((0, 0, image.width, kept))


def _is_whole(data: bytes, mode: str) -> bool:
    """Whether libjpeg finds nothing missing but the end marker. Pillow does not pass on what it warns of."""
    import simplejpeg

    try:
        simplejpeg.decode_jpeg(data + _END, "CMYK" if mode == "CMYK" else "GRAY", min_height=1, min_width=1)
    except (ValueError, RuntimeError, MemoryError):
        return False
    return True


def _whole_rows(image: JpegImagePlugin.JpegImageFile) -> int:
    """How many rows from the top were decoded: all up to the row of blocks in which the file ends."""
    pixels: NDArray[np.uint8] = np.asarray(image).reshape(image.height, image.width, -1)
    last = pixels[-1, -1]
    if image.mode in ("RGB", "L") and (last != _GREY).any():
        return image.height
    missing = (pixels == last).all(axis=(1, 2))[::-1]
    begin = image.height - (image.height if missing.all() else int(missing.argmin()))
    # The row of blocks above is in part there; where colours are stored at half the size, they reach a row further.
    blocks = 8 * max((sampling for _, _, sampling, _ in image.layer), default=1)
    return max(0, begin - 2) // blocks * blocks
