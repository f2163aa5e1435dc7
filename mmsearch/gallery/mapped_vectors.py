"""Vectors where they stand in a Parquet file, mapped instead of decoded.

Shards hold their vectors uncompressed and PLAIN: beside the lengths of the lists, which Arrow's reader takes ten times
as long to decode as a query to multiply, a page is the matrix itself. What is read here of the format: the header of a
page (a struct in Thrift's compact protocol) and the levels of lists (runs of a bit), see
https://parquet.apache.org/docs/file-format/data-pages. Whatever is not as expected is left to the reader.
"""

import mmap
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mmsearch.exact import Vectors

__all__ = ["map_vectors"]

_PATH = "embedding.list.element"
_TYPES = {"float16": ("FIXED_LEN_BYTE_ARRAY", "<f2"), "float32": ("FLOAT", "<f4")}

# Of the page header: https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
_TYPE, _STORED_BYTES, _DATA_PAGE = 1, 3, 5
_VALUES, _ENCODING, _DEFINITION_ENCODING, _REPETITION_ENCODING = 1, 2, 3, 4
_IS_DATA_PAGE, _IS_PLAIN, _IS_RLE = 0, 0, 3

_HEADER_BYTES = 256  # a header with statistics is longer, and these columns have none


class _Unexpected(Exception):
    """The file is not laid out as shards are."""


def map_vectors(path: Path, file: pq.ParquetFile, dim: int, dtype: str) -> list[Vectors] | None:
    """The vectors of a Parquet file of our own on this machine, mapped, in pieces (n, dim) and in order; None where its
    reader has to decode them.

    path: of `file`. dim, dtype: of a vector, as the manifest says. Each row is seen to have exactly `dim` values.
    Raises OSError.
    """
    physical, kind = _TYPES[dtype]
    field = file.schema_arrow.field("embedding")
    if sys.byteorder != "little" or field.nullable or not _is_matrix(field.type, dim, dtype):
        return None
    with path.open("rb") as opened:
        content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    pieces: list[Vectors] = []
    try:
        for group in map(file.metadata.row_group, range(file.metadata.num_row_groups)):
            chunk = group.column(group.num_columns - 1)
            stored = chunk.path_in_schema, chunk.physical_type, chunk.compression, chunk.has_dictionary_page
            if stored != (_PATH, physical, "UNCOMPRESSED", False):
                return None
            first, size = chunk.data_page_offset, chunk.total_compressed_size
            pages = _pages(content, first, first + size, dim, np.dtype(kind))
            if sum(map(len, pages)) != group.num_rows:
                return None
            pieces += pages
    except (_Unexpected, LookupError, TypeError, ValueError):  # of numbers where structs belong, and so on
        return None
    return pieces


def _is_matrix(column: object, dim: int, dtype: str) -> bool:
    return str(column) == f"fixed_size_list<element: {'halffloat' if dtype == 'float16' else 'float'} not null>[{dim}]"


def _pages(content: mmap.mmap, start: int, past: int, dim: int, kind: "np.dtype[Any]") -> list[Vectors]:
    """The pages of a column chunk as matrices. Raises _Unexpected, also where a row goes over the end of a page;
    LookupError, TypeError, ValueError."""
    pages: list[Vectors] = []
    while start < past:
        header, body = _read_struct(content[start : start + _HEADER_BYTES], 0)
        start += body
        size, page = header[_STORED_BYTES], header[_DATA_PAGE]
        encodings = page[_ENCODING], page[_DEFINITION_ENCODING], page[_REPETITION_ENCODING]
        if header[_TYPE] != _IS_DATA_PAGE or encodings != (_IS_PLAIN, _IS_RLE, _IS_RLE) or size < 1:
            raise _Unexpected
        values = page[_VALUES]
        repetitions, at = _levels(content, start)
        definitions, at = _levels(content, at)
        if at + values * kind.itemsize != start + size:
            raise _Unexpected
        _require_rows(repetitions, values, dim)
        _require_all_defined(definitions, values)
        pages.append(np.frombuffer(content, kind, values, at).reshape(-1, dim))
        start += size
    if start != past:
        raise _Unexpected
    return pages


def _levels(content: mmap.mmap, start: int) -> tuple[bytes, int]:
    """Levels as they are stored, behind their length (4 bytes), and where they end."""
    past = start + 4 + int.from_bytes(content[start : start + 4], "little")
    return content[start + 4 : past], past


@lru_cache(64)
def _require_rows(levels: bytes, values: int, dim: int) -> None:
    """Raise _Unexpected unless these are lists of `dim` values each. Kept, since pages are much alike."""
    if values % dim or _decode_bits(levels, values) != (b"\0" + b"\1" * (dim - 1)) * (values // dim):
        raise _Unexpected


@lru_cache(64)
def _require_all_defined(levels: bytes, values: int) -> None:
    if _decode_bits(levels, values) != b"\1" * values:
        raise _Unexpected


_EIGHT_LEVELS = [bytes(byte >> place & 1 for place in range(8)) for byte in range(256)]


def _decode_bits(levels: bytes, count: int) -> bytes:
    """Levels of one bit, a byte each, from Parquet's hybrid of runs and packed bits. Raises _Unexpected, IndexError.

    >>> _decode_bits(bytes([3, 0b11111110, 4 << 1, 1]), 12)
    b'\\x00\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01\\x01'
    """
    runs: list[bytes] = []
    at = 0
    while at < len(levels):
        head, at = _read_number(levels, at)
        if head & 1:  # so many bytes of eight levels each
            past = at + (head >> 1)
            runs += [_EIGHT_LEVELS[byte] for byte in levels[at:past]]
        else:  # one level so many times
            past = at + 1
            if head >> 1 > count:
                raise _Unexpected
            runs.append(levels[at:past] * (head >> 1))
        at = past
    return b"".join(runs)[:count]


# --- Thrift's compact protocol ----------------------------------------------------------------------------------------


def _read_struct(data: bytes, at: int) -> tuple[dict[int, Any], int]:
    """The fields of a struct, which are numbers and structs, and where it ends. Raises _Unexpected, IndexError."""
    fields: dict[int, Any] = {}
    number = 0
    while head := data[at]:
        at += 1
        if not head >> 4:
            raise _Unexpected  # a number of a field that is far from the one before
        number += head >> 4
        match head & 15:
            case 4 | 5 | 6:  # of 16, 32, 64 bits
                zigzag, at = _read_number(data, at)
                fields[number] = zigzag >> 1 ^ -(zigzag & 1)
            case 12:
                fields[number], at = _read_struct(data, at)
            case _:  # not in the header of a page without statistics
                raise _Unexpected
    return fields, at + 1


def _read_number(data: bytes, at: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends. Raises IndexError."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7
