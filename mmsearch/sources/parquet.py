"""Parquet tables of other people: image bytes, row by row, and columns of paths and captions."""

import json
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmsearch.stores import utf8_name

__all__ = [
    "IMAGE_PATH",
    "PATH_COLUMNS",
    "ImageRows",
    "Unreadable",
    "class_names",
    "column_names",
    "columns",
    "image_rows",
    "is_image_table",
    "rows_beside_images",
]

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
IMAGE_PATH = "image path"
"""What `rows_beside_images` calls the path that stands beside the bytes of a picture, as in Hugging Face datasets."""
_BATCH = 16  # rows read at a time: pictures of some megabytes each
_KEPT = 16  # batches that stay, since readers come a little out of order
_MOST_BYTES = 1 << 31  # in one row group, of which a hostile one would make memory


class Unreadable(Exception):
    """Not Parquet, or not with the columns that are needed."""


def _open(location: str) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with utf8_name(Path(location)) as path:
        try:
            return pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20)
        except (pa.ArrowException, OSError) as error:
            if isinstance(error, (PermissionError, FileNotFoundError)):
                raise
            raise Unreadable(f"not a Parquet file ({' '.join(str(error).split())[:100]})") from error


def _image_column(schema: Any) -> tuple[str, ...] | None:
    """Where a table holds pictures: the names of a column and of what is to be taken in it.

    Binary of any kind, also as a dictionary (pandas' categories); a struct with `bytes`, as Hugging Face datasets have
    it; or a list of either, of which the first counts.
    """
    for name in (field.name for field in schema if field.name.lower() in IMAGE_COLUMNS):
        if (inner := _bytes_in(schema.field(name).type)) is not None:
            return (str(name), *inner)
    return None


def _bytes_in(arrow_type: Any) -> tuple[str, ...] | None:
    """What to take of a value of this type to come to its bytes; () where it is bytes, None where it holds none."""
    import pyarrow.types as types

    if types.is_dictionary(arrow_type):
        return _bytes_in(arrow_type.value_type)
    if types.is_binary(arrow_type) or types.is_large_binary(arrow_type) or types.is_binary_view(arrow_type):
        return ()
    if types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type):
        inner = _bytes_in(arrow_type.value_type)
        return None if inner is None else (_FIRST, *inner)
    if types.is_struct(arrow_type):
        for field in arrow_type:
            if field.name == "bytes" or types.is_struct(field.type):
                inner = _bytes_in(field.type)
                if inner is not None:
                    return (field.name, *inner)
    return None


_FIRST = "[0]"


def column_names(location: str) -> tuple[str, ...]:
    """The names of all columns. Raises Unreadable, OSError."""
    with _open(location) as file:
        return tuple(file.schema_arrow.names)


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


class ImageRows:
    """The pictures of a table, by row. Rows are read in pieces, so ask for them more or less in order. Thread-safe."""

    def __init__(self, location: str) -> None:
        self._file = _open(location)
        self._column, *self._inner = _image_column(self._file.schema_arrow) or ("",)
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
            group = max(group_index for group_index, start in enumerate(self._starts[:-1]) if start <= row)
            if group != self._group or row < self._next:
                self._begin(group)
            piece = next(self._pieces)
            self._kept[self._next] = _values(piece, self._inner)
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


def _values(piece: Any, inner: Sequence[str]) -> list[bytes | None]:
    values = piece.column(0).to_pylist()
    for name in inner:
        if name == _FIRST:
            values = [value[0] if value else None for value in values]
        else:
            values = [value[name] if value else None for value in values]
    return list(values)


def _is_text(arrow_type: Any) -> bool:
    import pyarrow.types as types

    while types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_dictionary(arrow_type):
        arrow_type = arrow_type.value_type
    return bool(types.is_string(arrow_type) or types.is_large_string(arrow_type) or types.is_string_view(arrow_type))


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


def rows_beside_images(location: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Row number and values, by names in lower case, of the columns beside the pictures of a table: all that hold
    neither bytes nor vectors. Raises Unreadable, OSError."""
    import pyarrow as pa

    with _open(location) as file:
        schema = file.schema_arrow
        image = (_image_column(schema) or ("",))[0]
        names = [field.name for field in schema if not _holds_bytes_or_numbers(field.type)]
        path = f"{image}.path"
        has_path = bool(image) and pa.types.is_struct(schema.field(image).type) and "path" in _names(schema, image)
        row = 0
        try:
            for piece in file.iter_batches(4_096, columns=[*names, *([path] if has_path else [])], use_threads=False):
                for values in piece.to_pylist():
                    fields = {name.lower(): values[name] for name in names}
                    if has_path:
                        fields[IMAGE_PATH] = (values[image] or {}).get("path")
                    yield row, fields
                    row += 1
        except (pa.ArrowException, OSError) as error:
            raise Unreadable(f"damaged Parquet: {' '.join(str(error).split())[:100]}") from error


def _names(schema: Any, column: str) -> list[str]:
    return [field.name for field in schema.field(column).type]


def _holds_bytes_or_numbers(arrow_type: Any) -> bool:
    """Whether values of a type hold bytes somewhere, or are lists of floating-point numbers."""
    import pyarrow.types as types

    if types.is_dictionary(arrow_type):
        return _holds_bytes_or_numbers(arrow_type.value_type)
    if types.is_list(arrow_type) or types.is_large_list(arrow_type) or types.is_fixed_size_list(arrow_type):
        return types.is_floating(arrow_type.value_type) or _holds_bytes_or_numbers(arrow_type.value_type)
    if types.is_struct(arrow_type):
        return any(_holds_bytes_or_numbers(field.type) for field in arrow_type)
    return bool(types.is_binary(arrow_type) or types.is_large_binary(arrow_type) or types.is_binary_view(arrow_type))


def class_names(location: str) -> dict[str, tuple[str, ...]]:
    """The names of the numbers in columns of classes, by column in lower case, as Hugging Face datasets writes them
    into the schema: a `ClassLabel`, or a list of them. Raises Unreadable, OSError."""
    with _open(location) as file:
        metadata = file.schema_arrow.metadata or {}
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}")).get("info", {}).get("features", {})
        found = {column.lower(): _names_of_feature(feature) for column, feature in features.items()}
    except (ValueError, AttributeError, TypeError, RecursionError):
        return {}
    return {column: names for column, names in found.items() if names}


def _names_of_feature(feature: Any) -> tuple[str, ...]:
    while isinstance(feature, (dict, list)) and feature:
        if isinstance(feature, list):
            feature = feature[0]
        elif feature.get("_type") == "ClassLabel":
            return tuple(map(str, feature.get("names") or ()))
        else:
            feature = feature.get("feature")
    return ()
