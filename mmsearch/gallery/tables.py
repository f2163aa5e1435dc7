"""Shards as Parquet: schemas, writing, and reading only what is needed.

Readers ignore columns they do not know and take missing ones as null, so that a later version may add some.

What a query reads avoids pyarrow.compute, and the conversions of pyarrow that look for pandas: importing these takes
longer than the reading.
"""

import contextlib
import errno
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from mmsearch import items
from mmsearch.errors import GalleryError
from mmsearch.exact import Vectors, ascending
from mmsearch.file_ranges import RangedFile
from mmsearch.gallery.mapped_vectors import map_vectors
from mmsearch.locations import Location
from mmsearch.names import random_name
from mmsearch.stores import ReadableFile, Store, open_store
from mmsearch.versions import Provenance, RowIdFile, Shard

__all__ = [
    "ROW_GROUP_ROWS",
    "SHARD_ROWS",
    "contains",
    "embedding_column",
    "filter_rows",
    "to_matrix",
    "take_rows",
    "find_bytes",
    "find_rows",
    "read_row_ids",
    "read_rows",
    "read_vectors",
    "row_ids_of",
    "scan",
    "scan_vectors",
    "schema",
    "write_file",
    "write_row_ids",
    "write_shards",
]

SHARD_ROWS = 65_536
# Small enough that fetching a hit's metadata reads little, large enough that a scan is not slowed by headers.
ROW_GROUP_ROWS = 4_096
# A scan holds this many rows at a time: 32 MB of 512-d float16 vectors with their float32 copies.
_SCAN_GROUPS = 4
# Up to so many rows are picked one by one, which needs no pyarrow.compute.
_FEW_ROWS = 256
# Arrow joins reads whose gap is no larger than the first number, up to the second in all (CacheOptions' defaults).
_ARROWS_HOLE, _ARROWS_RANGE = 8_192, 1 << 25

_TYPES: dict[object, pa.DataType] = {
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
    bytes: pa.binary(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us"),
    list[float]: pa.list_(pa.field("element", pa.float32())),  # not of a fixed size: old releases cannot read nulls
    list[str]: pa.list_(pa.field("element", pa.string())),
    "int32": pa.int32(),
}


def schema(table: str, dim: int, dtype: str) -> pa.Schema:
    """The columns of a table: `row_id`, the fields of its row and, for kinds of items, `embedding`.

    `embedding` is fixed_size_list<dtype>[dim], L2-normalised."""
    return _schema(items.table(table), dim, dtype)


@lru_cache
def _schema(definition: items.Table[object], dim: int, dtype: str) -> pa.Schema:
    hints = get_type_hints(definition.row, include_extras=True)
    columns = [
        pa.field("row_id", pa.int64(), nullable=False),
        *(_field(name, hints[name]) for name in definition.columns),
    ]
    if isinstance(definition, items.Kind):
        columns.append(pa.field("embedding", _embedding_type(dim, dtype), nullable=False))
    return pa.schema(columns)


def _field(name: str, hint: Any) -> pa.Field:
    """The column for a field of a row, by the type of that field (see `mmsearch.items.rows`)."""
    python_type, *extra_type = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    alternatives = get_args(python_type) or (python_type,)
    wanted = (
        extra_type[0]
        if extra_type
        else next(alternative for alternative in alternatives if alternative is not NoneType)
    )
    return pa.field(name, _TYPES[wanted], nullable=NoneType in alternatives)


def _embedding_type(dim: int, dtype: str) -> pa.DataType:
    value = pa.float16() if dtype == "float16" else pa.float32()
    return pa.list_(pa.field("element", value, nullable=False), dim)


def embedding_column(vectors: NDArray[np.floating], dtype: str) -> pa.FixedSizeListArray:
    """Convert an (n, dim) array to the embedding column, rounded to `dtype`."""
    stored = np.ascontiguousarray(vectors, dtype=np.dtype(dtype))
    column_type = _embedding_type(stored.shape[1], dtype)
    return pa.FixedSizeListArray.from_arrays(
        pa.array(stored.reshape(-1), type=column_type.value_type), type=column_type
    )


def to_matrix(column: pa.ChunkedArray | pa.Array) -> Vectors:
    """Convert the embedding column to an (n, dim) array; without a copy where it is one chunk."""
    array = _one_chunk(column)
    size = array.type.list_size
    values: Any = np.from_dlpack(array.values.slice(array.offset * size, len(array) * size))
    vectors: Vectors = values.reshape(len(array), size)
    return vectors


def contains(ascending: NDArray[np.int64], values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of `values` are among the ids in `ascending`: a bool for each value."""
    if not ascending.size:
        return np.zeros(len(values), bool)
    indices = np.minimum(np.searchsorted(ascending, values), ascending.size - 1)
    is_among: NDArray[np.bool_] = ascending[indices] == values
    return is_among


def row_ids_of(rows: pa.Table) -> NDArray[np.int64]:
    """The row_id column as int64 (n,)."""
    ids: Any = np.from_dlpack(_one_chunk(rows.column("row_id")))
    return np.asarray(ids, np.int64)


def _one_chunk(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    if isinstance(column, pa.ChunkedArray) and column.num_chunks == 1:  # combining would copy it
        return column.chunk(0)
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if isinstance(array, pa.ChunkedArray):  # no chunk, or too many bytes for one
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], type=array.type)
    return array


def take_rows(rows: pa.Table, indices: NDArray[np.intp]) -> pa.Table:
    """The rows at these indices, in this order."""
    if len(indices) <= _FEW_ROWS:
        return pa.concat_tables([rows.slice(0, 0), *(rows.slice(index, 1) for index in indices.tolist())])
    return rows.take(pa.Array.from_buffers(pa.int64(), len(indices), [None, pa.py_buffer(indices.astype(np.int64))]))


def find_rows(rows: pa.Table, row_ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """The indices of the rows whose ids are among `row_ids` (ascending)."""
    return np.flatnonzero(contains(row_ids, row_ids_of(rows)))


def find_bytes(column: pa.ChunkedArray, value: bytes) -> NDArray[np.intp]:
    """The indices of the rows whose bytes in a binary column are `value`."""
    array = _one_chunk(column)
    _, offsets, content = array.buffers()
    if not len(array) or content is None or not value:
        return np.empty(0, np.intp)
    bounds = np.frombuffer(offsets, np.int32)[array.offset : array.offset + len(array) + 1]
    found = np.flatnonzero(np.diff(bounds) == len(value))
    held, wanted = np.frombuffer(content, np.uint8), np.frombuffer(value, np.uint8)
    for place, byte in enumerate(wanted):  # few rows are left after the first
        found = found[held[bounds[found] + place] == byte]
    return found


def filter_rows(rows: pa.Table, keep: NDArray[np.bool_]) -> pa.Table:
    """The rows where `keep` (n,) is True."""
    if keep.all():
        return rows
    bits = pa.py_buffer(np.packbits(keep, bitorder="little"))
    return rows.filter(pa.Array.from_buffers(pa.bool_(), len(keep), [None, bits]))


def write_shards(store: Store, table: str, rows: pa.Table, provenance: Provenance | None) -> list[Shard]:
    """Write rows (ascending row_id) as shards of at most SHARD_ROWS, durable on return. Raises StoreError."""
    return [
        _write_shard(store, table, rows.slice(start, SHARD_ROWS), provenance)
        for start in range(0, rows.num_rows, SHARD_ROWS)
    ]


def _write_shard(store: Store, table: str, rows: pa.Table, provenance: Provenance | None) -> Shard:
    name = f"{random_name(12)}.parquet"
    with store.create(f"{table}/{name}") as file:
        with pq.ParquetWriter(file, rows.schema, **_layout(rows.schema)) as writer:
            writer.write_table(rows, row_group_size=ROW_GROUP_ROWS)
        size = file.tell()
    ids = row_ids_of(rows)
    numbers = [rows.column(column) for column in items.NUMBERS if column in rows.column_names]
    has_spans = any(column.null_count < len(column) for column in numbers)
    return Shard(name, rows.num_rows, int(ids[0]), int(ids[-1]), size, provenance, has_spans)


def _layout(columns: pa.Schema) -> dict[str, Any]:
    # Vectors do not compress, and a dictionary over them costs five times the write; names compress well.
    plain = [field.name for field in columns if field.name != "embedding"]
    return {
        "compression": dict.fromkeys(plain, "zstd") | {"embedding": "none"},
        "use_dictionary": False,
        "write_statistics": [column for column in plain if column not in ("path_bytes", "content_hash")],
    }


def write_file(pieces: Iterator[pa.Table], columns: pa.Schema, target: Location) -> tuple[int, int]:
    """Write pieces of a table as one Parquet file anywhere; the file appears under its name once it is complete.

    Returns its numbers of rows and bytes."""
    count = 0
    with open_store(target.parent).replace(target.name) as file:
        with pq.ParquetWriter(file, columns, **_layout(columns)) as writer:
            for rows in pieces:
                writer.write_table(rows.cast(columns), row_group_size=ROW_GROUP_ROWS)
                count += rows.num_rows
        return count, file.tell()


def scan(store: Store, table: str, shard: Shard, columns: Sequence[str], expected: pa.Schema) -> Iterator[pa.Table]:
    """All rows of a shard, some row groups at a time. Raises FileNotFoundError, GalleryError (damaged)."""
    with _parquet(store, table, shard, whole="embedding" in columns) as (file, source):
        groups = list(range(file.num_row_groups))
        pieces = [groups[start : start + _SCAN_GROUPS] for start in range(0, len(groups), _SCAN_GROUPS)]
        _fetch(source, file, pieces, columns)
        for piece in pieces:
            yield _read_groups(file, piece, columns, expected, shard)


def scan_vectors(
    store: Store, table: str, shard: Shard, expected: pa.Schema
) -> Iterator[tuple[NDArray[np.int64], Vectors]]:
    """(row ids, vectors) of all rows of a shard, in bounded pieces; mapped, where they lie on this machine as they are
    in memory. Raises as `scan`."""
    with _parquet(store, table, shard, whole=True) as (file, source):
        mapped = _map_shard(file, source, shard, expected)
    if mapped is not None:
        yield from mapped
        return
    for rows in scan(store, table, shard, ["embedding"], expected):
        yield row_ids_of(rows), to_matrix(rows.column("embedding"))


def read_vectors(
    store: Store, table: str, shard: Shard, row_ids: NDArray[np.int64], expected: pa.Schema
) -> tuple[NDArray[np.int64], Vectors]:
    """Those of `row_ids` (ascending) that a shard holds, and their vectors (n, dim): mapped, so that nothing else is
    read, or by `read_rows`."""
    with _parquet(store, table, shard) as (file, source):
        mapped = _map_shard(file, source, shard, expected)
    if mapped is None:
        rows = read_rows(store, table, shard, row_ids, ["embedding"], expected)
        return row_ids_of(rows), to_matrix(rows.column("embedding"))
    found = [(ids[some], vectors[some]) for ids, vectors in mapped if len(some := _among(row_ids, ids))]
    if not found:
        dim, kind = expected.field("embedding").type.list_size, mapped[0][1].dtype
        return np.empty(0, np.int64), np.empty((0, dim), kind)
    return np.concatenate([ids for ids, _ in found]), np.concatenate([vectors for _, vectors in found])


def _among(row_ids: NDArray[np.int64], ids: NDArray[np.int64]) -> NDArray[np.intp]:
    """The indices of those of `ids` that are among `row_ids`, both ascending."""
    if not len(ids):
        return np.empty(0, np.intp)
    wanted = row_ids[np.searchsorted(row_ids, ids[0]) : np.searchsorted(row_ids, ids[-1], "right")]
    indices = np.searchsorted(ids, wanted)
    found: NDArray[np.intp] = indices[ids[indices] == wanted]
    return found


def _map_shard(
    file: pq.ParquetFile, source: ReadableFile, shard: Shard, expected: pa.Schema
) -> list[tuple[NDArray[np.int64], Vectors]] | None:
    """(row ids, vectors) of all rows of a shard, mapped, in pieces; None where they have to be read."""
    kind = expected.field("embedding").type
    mapped = None
    if isinstance(source, Path):
        mapped = map_vectors(source, file, kind.list_size, str(np.dtype(kind.value_type.to_pandas_dtype())))
    if not mapped:
        return None
    row_ids = _all_row_ids(file, shard, expected)
    ends = np.cumsum([len(vectors) for vectors in mapped]).tolist()
    if len(row_ids) != ends[-1]:
        return None
    return [(row_ids[end - len(vectors) : end], vectors) for end, vectors in zip(ends, mapped, strict=True)]


def _all_row_ids(file: pq.ParquetFile, shard: Shard, expected: pa.Schema) -> NDArray[np.int64]:
    """Of the rows of a shard, ascending. They stand in the manifest where none is missing between them."""
    if shard.max_row_id - shard.min_row_id + 1 == shard.rows == file.metadata.num_rows:
        return np.arange(shard.min_row_id, shard.max_row_id + 1, dtype=np.int64)
    return row_ids_of(_read_groups(file, [*range(file.num_row_groups)], [], expected, shard))


def read_rows(
    store: Store,
    table: str,
    shard: Shard,
    row_ids: NDArray[np.int64],
    columns: Sequence[str],
    expected: pa.Schema,
) -> pa.Table:
    """The rows of a shard whose ids are among `row_ids` (ascending), reading only the row groups that may hold them."""
    with _parquet(store, table, shard) as (file, source):
        column = file.schema_arrow.get_field_index("row_id")
        groups = []
        for group in range(file.num_row_groups):
            statistics = file.metadata.row_group(group).column(column).statistics
            low, high = (
                (statistics.min, statistics.max) if statistics is not None else (shard.min_row_id, shard.max_row_id)
            )
            if np.searchsorted(row_ids, low) < np.searchsorted(row_ids, high, side="right"):
                groups.append(group)
        _fetch(source, file, [groups], columns)
        rows = _read_groups(file, groups, columns, expected, shard)
    return take_rows(rows, find_rows(rows, row_ids))


@contextlib.contextmanager
def _parquet(
    store: Store, table: str, shard: Shard, *, whole: bool = False
) -> Iterator[tuple[pq.ParquetFile, ReadableFile]]:
    name = f"{table}/{shard.name}"
    try:
        source = store.open(name, size=shard.file_bytes, whole=whole)
        file = pq.ParquetFile(source, memory_map=True, pre_buffer=not isinstance(source, Path))
    except FileNotFoundError:
        raise FileNotFoundError(errno.ENOENT, "missing", str(store.location / name)) from None  # Arrow's names no file
    except (pa.ArrowException, OSError) as error:
        raise _damage_error(shard.name, error) from error
    with file:
        yield file, source


def _fetch(source: ReadableFile, file: pq.ParquetFile, pieces: Sequence[Sequence[int]], columns: Sequence[str]) -> None:
    """Fetch these columns of several pieces (lists of row groups) at the same time, where the file is remote."""
    if not isinstance(source, RangedFile):
        return
    wanted = {"row_id", *columns}
    ranges: list[tuple[int, int]] = []
    for piece in pieces:
        chunks = []
        for group in map(file.metadata.row_group, piece):
            for chunk in map(group.column, range(group.num_columns)):
                if chunk.path_in_schema.partition(".")[0] in wanted:
                    start = chunk.dictionary_page_offset or chunk.data_page_offset
                    chunks.append((start, start + chunk.total_compressed_size))
        ranges += _merge_ranges(chunks)
    source.fetch(ranges)


def _merge_ranges(ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Merge neighbouring ranges as Arrow's reader does: it would fetch again what was fetched in other ranges."""
    merged: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if merged and start - merged[-1][1] <= _ARROWS_HOLE and end - merged[-1][0] <= _ARROWS_RANGE:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((start, end))
    return merged


def _read_groups(
    file: pq.ParquetFile, groups: list[int], columns: Sequence[str], expected: pa.Schema, shard: Shard
) -> pa.Table:
    wanted = list(dict.fromkeys(["row_id", *columns]))
    present = [name for name in wanted if name in file.schema_arrow.names]
    try:
        rows = file.read_row_groups(groups, columns=present)
    except (pa.ArrowException, OSError) as error:
        raise _damage_error(shard.name, error) from error
    for name in wanted:
        if name not in present:
            rows = rows.append_column(expected.field(name), pa.nulls(rows.num_rows, expected.field(name).type))
    return rows.select(wanted)


def _damage_error(name: str, error: Exception) -> GalleryError:
    if isinstance(error, PermissionError):
        return GalleryError(
            f"{name} cannot be read: permission denied. Nothing is damaged; ask whoever owns the gallery for the right "
            "to read it (chmod -R a+rX GALLERY)"
        )
    return GalleryError(
        f"{name} cannot be read ({error}). The disk may be failing: restore the gallery from a backup, "
        "or embed into a new one."
    )


def write_row_ids(store: Store, row_ids: NDArray[np.int64], in_shards: int) -> RowIdFile:
    """Write a list of row ids as deletes/<random>.parquet, durable on return."""
    name = f"{random_name(12)}.parquet"
    with store.create(f"deletes/{name}") as file:
        pq.write_table(pa.table({"row_id": pa.array(row_ids, type=pa.int64())}), file, compression="zstd")
    return RowIdFile(name, len(row_ids), in_shards)


def read_row_ids(store: Store, files: Sequence[RowIdFile]) -> NDArray[np.int64]:
    """The ids of several lists, ascending and unique."""
    lists = [np.empty(0, np.int64)]
    for file in files:
        name = f"deletes/{file.name}"
        try:
            with pq.ParquetFile(store.open(name, whole=True)) as parquet:
                lists.append(row_ids_of(parquet.read(columns=["row_id"])))
        except FileNotFoundError:
            raise FileNotFoundError(errno.ENOENT, "missing", str(store.location / name)) from None
        except (pa.ArrowException, OSError) as error:
            raise _damage_error(name, error) from error
    return ascending(np.concatenate(lists))
