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
        aperture = _read_clap(_read_meta(file))
    except (struct.error, ValueError, IndexError):
        return None
    if aperture is None:
        return None
    (seen_width, seen_height), (right, down) = aperture[:2], aperture[2:]
    left, top = (width - seen_width) / 2 + right, (height - seen_height) / 2 + down
    box = (left, top, left + seen_width, top + seen_height)
    if any(edge.denominator != 1 for edge in box) or not (0 <= left < box[2] <= width and 0 <= top < box[3] <= height):
        return None
    return int(left), int(top), int(box[2]), int(box[3])


def _read_meta(file: BinaryIO) -> bytes:
    """What the box that describes the items holds."""
    offset = 0
    while True:
        file.seek(offset)
        size, name = struct.unpack(">I4s", file.read(8))
        if name == b"meta":
            return file.read(min(size, _MOST_META_BYTES) - 8)[4:]
        if size < 8:
            raise ValueError("no box that describes items")
        offset += size


def _iterate_boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and content of each box."""
    offset = 0
    while offset + 8 <= len(data):
        size, name = struct.unpack_from(">I4s", data, offset)
        if size < 8:
            return
        yield name, data[offset + 8 : offset + size]
        offset += size


def _read_clap(meta: bytes) -> tuple[Fraction, Fraction, Fraction, Fraction] | None:
    """Width, height, and how far the centre lies right and down, of the primary item."""
    boxes = dict(_iterate_boxes(meta))
    primary = int.from_bytes(boxes[b"pitm"][4 : 6 if boxes[b"pitm"][0] == 0 else 8], "big") if b"pitm" in boxes else 0
    descriptions = list(_iterate_boxes(boxes.get(b"iprp", b"")))
    properties = [box for name, body in descriptions if name == b"ipco" for box in _iterate_boxes(body)]
    for associations in (body for name, body in descriptions if name == b"ipma"):
        for index in _properties_of(primary, associations):
            if 0 < index <= len(properties) and properties[index - 1][0] == b"clap":
                values = struct.unpack_from(">IIIIiIiI", properties[index - 1][1])
                if 0 in values[1::2]:
                    return None
                wide, high, right, down = (Fraction(*values[offset : offset + 2]) for offset in (0, 2, 4, 6))
                return wide, high, right, down
    return None


def _properties_of(item: int, associations: bytes) -> list[int]:
    """Indexes, from 1, of an item's properties."""
    wide_ids, wide_indexes = associations[0] >= 1, associations[3] & 1
    offset, (count,) = 8, struct.unpack_from(">I", associations, 4)
    for _ in range(count):
        (owner,) = struct.unpack_from(">I" if wide_ids else ">H", associations, offset)
        offset += 4 if wide_ids else 2
        count_of_item = associations[offset]
        offset += 1
        step = 2 if wide_indexes else 1
        if owner == item:
            mask = 0x7FFF if wide_indexes else 0x7F
            cells = range(offset, offset + count_of_item * step, step)
            return [int.from_bytes(associations[cell : cell + step], "big") & mask for cell in cells]
        offset += count_of_item * step
    return []
