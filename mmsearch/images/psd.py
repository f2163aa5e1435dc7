"""Photoshop files of 16 and 32 bits, which Pillow does not read (psd-tools, the extra `psd`)."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import ImageError

__all__ = ["mend_psd"]

_HEADER = ">4sH6xHIIHH"  # signature, version, channels, height, width, bits, colour mode
_PLAIN, _PACKED = 0, 1  # how samples stand in the file
_MOST_BYTES = 1 << 31  # of all channels, which are held at once


def mend_psd(data: bytes) -> bytes | None:
    """The whole picture that such a file holds beside its layers, as a PSD of 8 bits; None where it is none of these.

    Floats are taken for linear light, as Photoshop has them, and become sRGB; a profile would say otherwise, so nothing
    of what the file says of itself is kept with these. Raises ImageError where the library is missing."""
    if data[:4] != b"8BPS" or len(data) < 26:
        return None
    signature, version, channels, height, width, bits, mode = struct.unpack_from(_HEADER, data)
    if bits not in (16, 32) or version != 1 or channels * height * width * bits // 8 > _MOST_BYTES:
        return None
    try:
        from psd_tools.compression import decode_rle
    except ImportError as error:
        wanted = f"PSD of {bits} bits per sample, read through: pip install 'mmsearch[psd]'"
        raise ImageError("identify", wanted) from error
    sections: list[bytes] = []
    place = struct.calcsize(_HEADER)
    for _ in range(3):  # the palette, what the file says of itself, layers
        (size,) = struct.unpack_from(">I", data, place)
        sections.append(data[place : place + 4 + size])
        place += 4 + size
    (compression,) = struct.unpack_from(">H", data, place)
    samples, rows = data[place + 2 :], height * channels
    if compression == _PACKED:
        if 2 * rows + sum(struct.unpack_from(f">{rows}H", samples)) > len(samples):
            raise ValueError("truncated PSD")
        samples = decode_rle(samples, width, rows, bits, version)
    elif compression != _PLAIN:
        return None
    samples = samples[: width * rows * bits // 8]
    eight = _eight_bits(np.frombuffer(samples, ">u2" if bits == 16 else ">f4"))
    header = struct.pack(_HEADER, signature, version, channels, height, width, 8, mode)
    kept = sections[1] if bits == 16 else bytes(4)
    return b"".join((header, bytes(4), kept, bytes(4), struct.pack(">H", 0), eight.tobytes()))


def _eight_bits(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Samples (n,) of 16 bits, or of light from 0 to 1, as 0 to 255."""
    if samples.dtype.kind == "u":
        return np.asarray((samples.astype(np.uint32) * 255 + 32_767) // 65_535, np.uint8)
    light = np.nan_to_num(samples.astype(np.float32), nan=0.0).clip(0, 1)
    shown = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** np.float32(1 / 2.4) - 0.055)
    eight: NDArray[np.uint8] = np.rint(255 * shown).clip(0, 255).astype(np.uint8)
    return eight
