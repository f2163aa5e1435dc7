"""Parquet tables of other people: image bytes, row by row, and columns of paths and captions."""

import threading
from collections.abc import Iterator
from typing import Any

__all__ = ["PATH_COLUMNS", "Rows", "Unreadable", "columns", "image_rows", "is_image_table"]

IMAGE_COLUMNS = (
    "image",
    "img",
    "jpg",
    "jpeg",
    "png",
    "webp",
    "image_bytes",
    "img_bytes",
    "picture",
    "bytes",
    "content",
)
PATH_COLUMNS = (
    "path",
    "image_path",
    "img_path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_name",
)
_BATCH = 16  # rows read at a time: pictures of some megabytes each
_KEPT = 16  # batches that stay, since readers come a little out of order
_MOST_BYTES = 1 << 31  # in one row group, of which a hostile one would make memory


class Unreadable(Exception):
    """Not Parquet, or not with the columns that are needed."""


def _open(location: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(location, pre_buffer=False, buffer_size=1 << 20)
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, (PermissionError, FileNotFoundError)):
            raise
        raise Unreadable(f"not a Parquet file ({' '.join(str(error).split())[:100]})") from error


def _image_column(schema: Any) -> str | None:
    """The column that holds pictures: binary, or as Hugging Face datasets do, a struct with `bytes`."""
    import pyarrow.types as types

    def binary(kind: Any) -> bool:
        return bool(types.is_binary(kind) or types.is_large_binary(kind))

    for name in (field.name for field in schema if field.name.lower() in IMAGE_COLUMNS):
        kind = schema.field(name).type
        if binary(kind):
            return str(name)
        if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and binary(kind.field("bytes").type):
            return f"{name}.bytes"
    return None


def image_rows(location: str) -> int:
    """How many rows a table with pictures has. Raises Unreadable, OSError."""
    with _open(location) as file:
        if _image_column(file.schema_arrow) is None:
            named = ", ".join(file.schema_arrow.names[:8])
            raise Unreadable(f"a table without a column of image bytes (it has {named})")
        return int(file.metadata.num_rows)


def is_image_table(location: str) -> bool:
    """Whether a table holds pictures rather than their paths. Raises Unreadable, OSError."""
    with _open(location) as file:
        return _image_column(file.schema_arrow) is not None


class Rows:
    """The pictures of a table, by row. Rows are read in pieces, so ask for them more or less in order. Thread-safe."""

    def __init__(self, location: str) -> None:
        self._file = _open(location)
        self._column = _image_column(self._file.schema_arrow) or ""
        self._lock = threading.Lock()
        self._kept: dict[int, list[bytes | None]] = {}  # first row -> values
        self._group = self._next = -1  # the row group that `_pieces` comes from, and the row that it gives next
        self._pieces: Iterator[Any] = iter(())
        counts = [self._file.metadata.row_group(group).num_rows for group in range(self._file.num_row_groups)]
        self._starts = [sum(counts[:group]) for group in range(len(counts) + 1)]

    def read(self, row: int) -> bytes | None:
        """The bytes of one picture; None where the row has none. Raises Unreadable."""
        import pyarrow as pa

        with self._lock:
            try:
                return self._read(row)
            except (pa.ArrowException, OSError) as error:
                self._group = -1
                raise Unreadable(f"damaged Parquet: {' '.join(str(error).split())[:100]}") from error

    def _read(self, row: int) -> bytes | None:
        while True:
            for start, values in self._kept.items():
                if start <= row < start + len(values):
                    return values[row - start]
            group = max(place for place, start in enumerate(self._starts[:-1]) if start <= row)
            if group != self._group or row < self._next:
                self._begin(group)
            piece = next(self._pieces)
            self._kept[self._next] = _values(piece, self._column)
            self._next += piece.num_rows
            if len(self._kept) > _KEPT:
                del self._kept[next(iter(self._kept))]

    def _begin(self, group: int) -> None:
        # Of the whole group: to ask a damaged file for one column ends the process (Arrow, in a destructor).
        size = self._file.metadata.row_group(group).total_byte_size
        if size > _MOST_BYTES:
            raise Unreadable(f"a row group of {size:,} bytes, over the limit of {_MOST_BYTES:,}")
        self._group, self._next = group, self._starts[group]
        self._pieces = self._file.iter_batches(_BATCH, row_groups=[group], columns=[self._column], use_threads=False)


def _values(piece: Any, column: str) -> list[bytes | None]:
    name, _, inner = column.partition(".")
    values = piece.column(0).to_pylist()
    if inner and name:
        return [value[inner] if value else None for value in values]
    return list(values)


def _is_text(kind: Any) -> bool:
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind):
        kind = kind.value_type
    return bool(types.is_string(kind) or types.is_large_string(kind))


def columns(location: str, wanted: tuple[str, ...]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number and values of those of the `wanted` columns that a table has as text. Raises Unreadable, OSError."""
    import pyarrow as pa

    with _open(location) as file:
        names = [field.name for field in file.schema_arrow if field.name.lower() in wanted and _is_text(field.type)]
        row = 0
        try:
            for piece in file.iter_batches(4_096, columns=names):
                for values in piece.to_pylist():
                    yield row, {name.lower(): value for name, value in values.items()}
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"damaged Parquet: {' '.join(str(error).split())[:100]}") from error
