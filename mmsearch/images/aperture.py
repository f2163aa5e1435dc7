"""The clean aperture of an AVIF: the part of what is stored that is the picture (`clap`, ISO/IEC 14496-12, 12.1.4).

libheif applies it to HEIC; libavif hands it to whoever asks, and Pillow does not ask."""

import struct
from collections.abc import Iterator
from fractions import Fraction
from typing import BinaryIO, TypeAlias

__all__ = ["Box", "clean_aperture"]

Box: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels as stored, so before the picture is turned."""

_MOST_META_BYTES = 1 << 24


def clean_aperture(file: BinaryIO, width: int, height: int) -> Box | None:
    """What is to be seen of the primary item; None where that is all, or where what is said makes no sense.

    width, height: as stored."""
    try:
        found = _clap(_meta(file))
    except (struct.error, ValueError, IndexError):
        return None
    if found is None:
        return None
    (seen_width, seen_height), (right, down) = found[:2], found[2:]
    left, top = (width - seen_width) / 2 + right, (height - seen_height) / 2 + down
    box = (left, top, left + seen_width, top + seen_height)
    if any(edge.denominator != 1 for edge in box) or not (0 <= left < box[2] <= width and 0 <= top < box[3] <= height):
        return None
    return int(left), int(top), int(box[2]), int(box[3])


def _meta(file: BinaryIO) -> bytes:
    """What the box that describes the items holds."""
    place = 0
    while True:
        file.seek(place)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"meta":
            return file.read(min(size, _MOST_META_BYTES) - 8)[4:]
        if size < 8:
            raise ValueError("no box that describes items")
        place += size


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box."""
    place = 0
    while place + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, place)
        if size < 8:
            return
        yield name, data[place + 8 : place + size]
        place += size


def _clap(meta: bytes) -> tuple[Fraction, Fraction, Fraction, Fraction] | None:
    """Width, height, and how far the centre lies right and down, of the primary item."""
    held = dict(_boxes(meta))
    primary = int.from_bytes(held[b"pitm"][4 : 6 if held[b"pitm"][0] == 0 else 8], "big") if b"pitm" in held else 0
    described = list(_boxes(held.get(b"iprp", b"")))
    properties = [each for name, body in described if name == b"ipco" for each in _boxes(body)]
    for associations in (body for name, body in described if name == b"ipma"):
        for index in _properties_of(primary, associations):
            if 0 < index <= len(properties) and properties[index - 1][0] == b"clap":
                values = struct.unpack_from(">IIIIiIiI", properties[index - 1][1])
                if 0 in values[1::2]:
                    return None
                wide, high, right, down = (Fraction(*values[place : place + 2]) for place in (0, 2, 4, 6))
                return wide, high, right, down
    return None


def _properties_of(item: int, associations: bytes) -> list[int]:
    """Indexes, from 1, of an item's properties."""
    wide_ids, wide_indexes = associations[0] >= 1, associations[3] & 1
    place, (count,) = 8, struct.unpack_from(">I", associations, 4)
    for _ in range(count):
        (owner,) = struct.unpack_from(">I" if wide_ids else ">H", associations, place)
        place += 4 if wide_ids else 2
        held = associations[place]
        place += 1
        step = 2 if wide_indexes else 1
        if owner == item:
            mask = 0x7FFF if wide_indexes else 0x7F
            cells = range(place, place + held * step, step)
            return [int.from_bytes(associations[cell : cell + step], "big") & mask for cell in cells]
        place += held * step
    return []
