"""The directories of tags in a TIFF, read one entry at a time: its pixels stay where they are."""

import struct
from typing import BinaryIO, TypeAlias

__all__ = ["TagEntry", "read_directory", "values_of"]

TagEntry: TypeAlias = tuple[int, int, bytes]
"""Type, count, and four bytes: the value, or where in the file it is."""

_MOST_VALUES = 32


def read_directory(file: BinaryIO, offset: int, order: str) -> tuple[dict[int, TagEntry], int]:
    """Entries by tag, and where the next directory is. order: "<" or ">", as `struct` has it. Raises ValueError."""
    file.seek(offset)
    try:
        (count,) = struct.unpack(order + "H", file.read(2))
        body = file.read(12 * count + 4)
        entries = [struct.unpack_from(order + "HHI4s", body, 12 * index) for index in range(count)]
        (following,) = struct.unpack(order + "I", body[12 * count :].ljust(4, b"\0"))
    except struct.error as error:
        raise ValueError("the directory is cut off") from error
    return {tag: (kind, values, value) for tag, kind, values, value in entries}, following


def values_of(file: BinaryIO, entry: TagEntry | None, order: str) -> list[int]:
    """The whole numbers of an entry; none where there is no entry, or it holds something else."""
    if entry is None or entry[0] not in (3, 4, 13) or entry[1] > _MOST_VALUES:
        return []
    kind, count, value = entry
    letter, size = ("H", 2) if kind == 3 else ("I", 4)
    if count * size > 4:
        file.seek(struct.unpack(order + "I", value)[0])
        value = file.read(count * size)
    return list(struct.unpack(f"{order}{count}{letter}", value[: count * size])) if len(value) >= count * size else []
