"""TIFFs that Pillow does not read: BigTIFF of the other byte order, floats in colour or of other widths, wide integers
(tifffile, the extra `tiff`)."""

import io
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mmsearch.errors import ImageError
from mmsearch.images.colours import choose_range, scale_to_8_bits
from mmsearch.images.directories import read_directory, values_of

__all__ = ["mend_tiff"]

_MOST_PIXELS = 200_000_000  # all of them are held at once, as wide as they are stored
_MOST_SAMPLES = 4
_BITS, _SAMPLES, _SAMPLE_FORMAT = 258, 277, 339
_KEPT: dict[int, type] = {274: int, 306: str}  # orientation, date
_FORMATS = {1: "unsigned", 2: "signed", 3: "float"}
_WHITE_IS_0, _BLACK_IS_0, _RGB = 0, 1, 2


def _find_unusual_kind(file: BinaryIO) -> str | None:
    """What kind of TIFF a file is, where it is one of those; None for any that Pillow reads, or that is damaged."""
    file.seek(0)
    head = file.read(8)
    if head[:4] in (b"MM\0+", b"II+\0"):
        return "BigTIFF"
    if head[:4] not in (b"MM\0*", b"II*\0"):
        return None
    order = "<" if head[:2] == b"II" else ">"
    try:
        tags, _ = read_directory(file, int.from_bytes(head[4:8], "little" if order == "<" else "big"), order)
    except ValueError:
        return None
    bits, kinds = (values_of(file, tags.get(tag), order) for tag in (_BITS, _SAMPLE_FORMAT))
    samples = (values_of(file, tags.get(_SAMPLES), order) or [1])[0]
    kind = _FORMATS.get(kinds[0] if kinds else 1)
    if samples > _MOST_SAMPLES or kind is None or set(bits) not in ({8}, {16}, {32}, {64}):
        return None
    return None if kind == "unsigned" and bits[0] <= 16 else f"TIFF of {samples} x {bits[0]}-bit {kind} samples"


def mend_tiff(data: bytes) -> bytes | None:
    """The first page of such a file as a plain TIFF; None where it is none, or pixels of it are missing.

    Raises ImageError where a library is wanted."""
    kind = _find_unusual_kind(io.BytesIO(data))
    if kind is None:
        return None
    wanted = ImageError("identify", f"{kind}, read through: pip install 'mmsearch[tiff]'")
    try:
        import tifffile  # noqa: F401
    except ImportError as error:
        raise wanted from error
    try:
        return _make_plain_tiff(data)
    except ValueError as error:
        if "imagecodecs" in str(error):  # tifffile's own words for a compression that it leaves to that package
            raise wanted from error
        raise


def _make_plain_tiff(data: bytes) -> bytes | None:
    import tifffile

    with tifffile.TiffFile(io.BytesIO(data)) as opened:
        page = opened.pages.first
        if page.imagewidth * page.imagelength > _MOST_PIXELS:
            return None
        pieces = zip(page.dataoffsets, page.databytecounts, strict=True)
        if any(start + count > len(data) for start, count in pieces):  # tifffile would put black there
            return None
        pixels = np.moveaxis(page.asarray(), 0, -1) if page.axes == "SYX" else page.asarray()
        if page.axes not in ("YX", "YXS", "SYX") or page.photometric not in (_WHITE_IS_0, _BLACK_IS_0, _RGB):
            return None
        image = _make_image(pixels)
        if page.photometric == _WHITE_IS_0:
            image = Image.fromarray(255 - np.asarray(image))
        tags = {name: kind(page.tags[name].value) for name, kind in _KEPT.items() if name in page.tags}
    file = io.BytesIO()
    image.save(file, "TIFF", tiffinfo=tags)
    return file.getvalue()


def _make_image(pixels: NDArray[np.generic]) -> Image.Image:
    """Of one to four channels and any type of number, as 8 bits."""
    if pixels.dtype == np.uint8:
        pixels_8 = pixels.astype(np.uint8)
    else:
        values = pixels.astype(np.float32)
        values[~np.isfinite(values)] = 0
        tops = (1.0, 255.0, 65535.0) if pixels.dtype.kind == "f" else (65535.0,)  # as of what Pillow reads
        pixels_8 = scale_to_8_bits(values, *choose_range(float(values.min()), float(values.max()), tops))
    if pixels_8.ndim == 3 and pixels_8.shape[2] <= 2:
        pixels_8 = pixels_8[..., 0]
    return Image.fromarray(np.ascontiguousarray(pixels_8))
