"""`export`: the live rows of a table as one Parquet file, for any other tool."""

import os
from dataclasses import dataclass

from mmsearch.errors import QueryError
from mmsearch.gallery import Gallery, read_consistently
from mmsearch.items import DEFAULT_KIND
from mmsearch.locations import Location, located

__all__ = ["ExportReport", "export"]

_Path = str | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was written where."""

    file: Location
    table: str
    rows: int
    bytes: int


def export(file: _Path, *, table: str = DEFAULT_KIND.name, gallery: _Path | None = None) -> ExportReport:
    """Write the live rows of a table, in the order of their row ids, as one Parquet file.

    A file that exists is replaced when the new one is whole. Raises QueryError where the table is empty, StoreError.
    """
    opened = Gallery.open(gallery)
    if not opened.live_rows(table):
        raise QueryError(f"{opened.path} holds no {table}; nothing to export")
    target = located(file)
    rows, size = read_consistently(opened, lambda current: current.write_rows(table, target))
    return ExportReport(target, table, rows, size)
