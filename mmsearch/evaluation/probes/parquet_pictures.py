"""Parquet files that hold pictures beside what is said of them, as data sets are handed around."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmsearch.errors import BenchmarkError, ImageError
from mmsearch.stores import utf8_name

__all__ = ["picture_bytes", "rows_without_pictures"]


def rows_without_pictures(file: Path) -> list[dict[str, Any]]:
    """The rows, with all columns but those of pictures. Raises BenchmarkError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with utf8_name(file) as path, pq.ParquetFile(path) as opened:
            columns = [each.name for each in opened.schema_arrow if not _holds_pictures(each.type)]
            rows: list[dict[str, Any]] = opened.read(columns=columns).to_pylist()
            return rows
    except (pa.ArrowException, OSError) as error:
        raise BenchmarkError(f"{file}: Parquet, but damaged: {error}") from None


_reading = threading.Lock()


def picture_bytes(file: str, row: int) -> bytes:
    """The picture in a row: of the first column of bytes, or of records with "bytes". Raises ImageError."""
    import pyarrow as pa

    try:
        with _reading:
            ends = _group_ends(file)
            group = int(np.searchsorted(ends, row, side="right"))
            pictures = _row_group(file, group)
    except (pa.ArrowException, OSError) as error:
        raise ImageError("identify", f"the Parquet file is damaged: {error}") from error
    data = pictures[row - int(ends[group]) + len(pictures)]
    data = data.get("bytes") if isinstance(data, dict) else data
    if not isinstance(data, bytes):
        raise ImageError("identify", "no picture in this row")
    return data


def _holds_pictures(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_struct(kind))


@lru_cache(maxsize=4)
def _group_ends(file: str) -> NDArray[np.int64]:
    """The row after the last one of each row group."""
    import pyarrow.parquet as pq

    with utf8_name(Path(file)) as path, pq.ParquetFile(path) as opened:
        metadata = opened.metadata
        return np.cumsum([metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)])


@lru_cache(maxsize=1)  # pictures are read in their order
def _row_group(file: str, group: int) -> list[Any]:
    """The pictures of a row group."""
    import pyarrow.parquet as pq

    with utf8_name(Path(file)) as path, pq.ParquetFile(path) as opened:
        column = next((each.name for each in opened.schema_arrow if _holds_pictures(each.type)), None)
        if column is None:
            raise ImageError("identify", "the file has no column of pictures")
        pictures: list[Any] = opened.read_row_group(group, columns=[column]).column(0).to_pylist()
        return pictures
