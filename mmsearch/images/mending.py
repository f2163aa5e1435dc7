"""Files that a decoder refuses though a picture is in them, rewritten so that it reads them.

Each function takes a file's bytes and gives bytes of the same format, or None where it knows no remedy."""

import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from mmsearch.images.psd import mend_psd
from mmsearch.images.tiff import mend_tiff

__all__ = ["MENDERS"]


def mend_png(data: bytes) -> bytes | None:
    """Without the chunks beside the picture that are damaged, or larger than any honest metadata.

    Chunks that the pixels depend on are kept as they are: a wrong checksum there is damage. Pillow stops at a wrong
    checksum anywhere, and at text and profiles beyond its limits."""
    if not data.startswith(_PNG):
        return None
    kept, left = [], _MOST_METADATA
    for name, chunk in _chunks(data):
        if name[:1].isupper() or name == b"tRNS":
            kept.append(chunk)
        elif (size := _metadata_size(name, chunk)) is not None and size <= left:
            kept.append(chunk)
            left -= size
    return _PNG + b"".join(kept)


_PNG = b"\x89PNG\r\n\x1a\n"
_MOST_METADATA = 1_000_000  # of one picture, inflated; Pillow stops at 1 MiB a text


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and whole bytes of every chunk; the last may be cut off."""
    place = len(_PNG)
    while place + 8 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place : place + 12 + length]
        place += 12 + length


def _metadata_size(name: bytes, chunk: bytes) -> int | None:
    """Bytes that a chunk of metadata takes once inflated; None where it is damaged, or of no use here."""
    body = chunk[8:-4]
    if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
        return None
    if name in (b"eXIf", b"tEXt"):
        return len(body)
    try:
        if name in (b"zTXt", b"iCCP"):
            method, compressed = body.split(b"\0", 1)[1][0], body.split(b"\0", 1)[1][1:]
        elif name == b"iTXt":
            flags, compressed = body.split(b"\0", 1)[1][:2], body.split(b"\0", 1)[1][2:].split(b"\0", 2)[2]
            if not flags[0]:
                return len(body)
            method = flags[1]
        else:
            return None
        if method != 0:
            return None
        return len(body) + len(zlib.decompressobj().decompress(compressed, _MOST_METADATA))
    except (ValueError, IndexError, zlib.error):
        return None


def mend_bmp(data: bytes) -> bytes | None:
    """A bitmap whose header says where each colour lies in a pixel (BITFIELDS), with the colours where Pillow knows
    them. It takes only the few layouts that Windows itself writes; the format allows any."""
    if len(data) < 66 or data[:2] != b"BM":
        return None
    (offset,) = struct.unpack_from("<I", data, 10)
    header, width, height, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    if compression not in (3, 6) or bits not in (16, 32) or header < 40 or width <= 0 or height == 0:
        return None
    has_alpha = len(data) >= 70 and (header >= 56 or compression == 6)
    masks = struct.unpack_from("<IIII" if has_alpha else "<III", data, 54)
    if has_alpha and masks[3] == 0:
        masks = masks[:3]
    row_bytes = (width * bits + 31) // 32 * 4
    rows = min(abs(height), max(0, len(data) - offset) // row_bytes)
    stored = np.frombuffer(data, np.uint8, rows * row_bytes, offset).reshape(rows, row_bytes)
    values = stored[:, : width * bits // 8].copy().view(f"<u{bits // 8}").astype(np.uint32)
    pixels = np.full((rows, width, 4), 255, np.uint8)
    for channel, mask in zip((2, 1, 0, 3), masks, strict=False):
        pixels[..., channel] = _eight_bits(values, mask)
    if len(masks) == 4 and not pixels[..., 3].any():  # written by programs that mean "no transparency"
        pixels[..., 3] = 255
    # Rows that are missing stay missing: Pillow says that the file is truncated.
    start = 14 + 40 + 16
    return b"".join(
        (
            struct.pack("<2sIHHI", b"BM", start + pixels.nbytes, 0, 0, start),
            struct.pack("<IiiHHIIiiII", 56, width, height, 1, 32, 3, pixels.nbytes, 0, 0, 0, 0),
            struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000),
            pixels.tobytes(),
        )
    )


def _eight_bits(values: NDArray[np.uint32], mask: int) -> NDArray[np.uint8]:
    """The bits of a mask, which may be few, many or none, as 0 to 255."""
    if mask == 0:
        return np.zeros(values.shape, np.uint8)
    shift = (mask & -mask).bit_length() - 1
    most = mask >> shift
    levels = ((values & np.uint32(mask)) >> np.uint32(shift)).astype(np.float64)
    return np.rint(levels * (255 / most)).clip(0, 255).astype(np.uint8)


MENDERS: dict[str, Callable[[bytes], bytes | None]] = {
    "PNG": mend_png,
    "BMP": mend_bmp,
    "TIFF": mend_tiff,
    "PSD": mend_psd,
}
"""Format, in Pillow's words -> what makes its files readable."""
