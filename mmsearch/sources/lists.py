"""Lists of files: CSV, JSON lines, Parquet, or a path a line."""

import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import SourceError, StoreError
from mmsearch.locations import Location, joined, located
from mmsearch.sources import parquet
from mmsearch.sources.caption_tables import CAPTION_COLUMNS, IMAGE_COLUMNS
from mmsearch.stores import MOST_TEXT_BYTES, local_copy, open_file

__all__ = ["FileList", "is_list", "read_list"]

_TABLES = {".csv": ",", ".tsv": "\t"}
_JSON = (".jsonl", ".ndjson", ".json")
_LINES = (".txt", ".lst", ".list")
_COLUMNS = tuple(dict.fromkeys((*parquet.PATH_COLUMNS, *IMAGE_COLUMNS, "url")))
_WEB = re.compile(r"(https?|ftp)://", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FileList:
    """The files that a list names, absolute, each once and in its order.

    Attributes:
        urls: How many of its lines name something to download, which is not done.
        captions: Whether it has a column of captions.
        problems: Lines that name nothing, as "line 7: ...".
    """

    files: tuple[Location, ...]
    urls: int
    captions: bool
    problems: tuple[str, ...]


def is_list(file: Location) -> bool:
    """Whether a file that was named is a list of files rather than a picture or an archive. Raises OSError."""
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        try:
            return not parquet.is_image_table(str(local_copy(file)))
        except parquet.Unreadable:
            return False
    return suffix in (*_TABLES, *_JSON, *_LINES) and _is_text(local_copy(file))


def _is_text(file: Path) -> bool:
    with open_file(file, MOST_TEXT_BYTES) as stream:
        start = stream.read(4096)
    try:
        start.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return error.start > len(start) - 4  # a character may be cut in two
    return b"\0" not in start


def read_list(file: Location) -> FileList:
    """The files that a list names; relative paths are relative to the list's own folder.

    - `.csv`, `.tsv`: a header that names a column such as path, image, file or filename.
    - `.jsonl`, `.json`: objects with such a key, a line each or a list; or a list of strings.
    - `.parquet`: such a column.
    - `.txt`, and tables without a header: a path a line.

    Raises SourceError: nothing in it names a file, not text, damaged.
    """
    folder = str(file.parent)
    files: dict[Location, None] = {}
    folders_seen: dict[str, dict[str, str]] = {}
    problems: list[str] = []
    urls, captions = 0, False
    try:
        for number, path_text, has_caption in _rows(local_copy(file)):
            captions |= has_caption
            if path_text is None or not path_text.strip():
                problems.append(f"line {number}: names no file")
            elif _WEB.match(path_text):
                urls += 1
            else:
                path = path_text.strip().removeprefix("file://")
                try:
                    files[located(joined(folder, os.path.expanduser(path)), folders_seen)] = None  # noqa: PTH111
                except StoreError as error:
                    problems.append(f"line {number}: {error}")
    except UnicodeDecodeError as error:
        raise SourceError(f"{file} is not UTF-8 text (byte {error.start}); save it as UTF-8") from None
    except (csv.Error, parquet.Unreadable, OSError) as error:
        raise SourceError(f"{file} cannot be read as a list of files: {_reason(error)}") from error
    if not files:
        reason = f"its {urls:,} lines are addresses, which are not downloaded" if urls else "; ".join(problems[:3])
        raise SourceError(
            f"{file} names no file ({reason or 'it is empty'}). Expected a path a line, or a column such as "
            f"{', '.join(_COLUMNS[:4])}."
        )
    return FileList(tuple(files), urls, captions, tuple(problems))


def _reason(error: Exception) -> object:
    return getattr(error, "strerror", None) or error


_Row = tuple[int, str | None, bool]  # line number, path, whether there is a caption column


def _rows(file: Path) -> Iterator[_Row]:
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return _from_parquet(file)
    if suffix in _TABLES:
        return _from_table(file, _TABLES[suffix])
    return _from_json(file) if suffix in _JSON else _from_lines(file)


def _open_text(file: Path, newline: str | None = None) -> io.TextIOWrapper:
    return io.TextIOWrapper(open_file(file, MOST_TEXT_BYTES), encoding="utf-8-sig", newline=newline)


def _from_lines(file: Path) -> Iterator[_Row]:
    with _open_text(file) as stream:
        for number, line in enumerate(stream, 1):
            if line.strip() and not line.startswith("#"):
                yield number, line.strip("\r\n"), False


def _from_table(file: Path, delimiter: str) -> Iterator[_Row]:
    with _open_text(file, newline="") as stream:
        first = stream.readline()
        if delimiter == "," and first.count(";") > first.count(","):
            delimiter = ";"
        header = [cell.strip().lower() for cell in next(csv.reader([first], delimiter=delimiter), [])]
        column = next((header.index(name) for name in _COLUMNS if name in header), None)
        captions = any(name in header for name in CAPTION_COLUMNS)
        if column is None:
            if len(header) > 1:
                raise csv.Error(f"its columns are {', '.join(header)}, and none of them is that of a path")
            stream.seek(0)
        reader = csv.reader(stream, delimiter=delimiter)
        for row in reader:
            if row:
                index = column or 0
                yield reader.line_num + (column is not None), row[index] if index < len(row) else None, captions


def _from_json(file: Path) -> Iterator[_Row]:
    with _open_text(file) as stream:
        whole = stream.read(1) == "["
        stream.seek(0)
        records: Iterator[tuple[int, Any]]
        try:
            records = enumerate(json.load(stream), 1) if whole else _iterate_json_lines(stream)
        except (ValueError, RecursionError) as error:
            raise csv.Error(f"not JSON ({error})") from error
        for number, record in records:
            if isinstance(record, str):
                yield number, record, False
                continue
            fields = {str(key).lower(): value for key, value in record.items()} if isinstance(record, dict) else {}
            yield number, _find_path(fields), any(name in fields for name in CAPTION_COLUMNS)


def _iterate_json_lines(stream: Any) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(stream, 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _from_parquet(file: Path) -> Iterator[_Row]:
    for row, fields in parquet.columns(str(file), (*_COLUMNS, *CAPTION_COLUMNS)):
        yield row, _find_path(fields), any(name in fields for name in CAPTION_COLUMNS)


def _find_path(fields: dict[str, Any]) -> str | None:
    return next((fields[name] for name in _COLUMNS if isinstance(fields.get(name), str)), None)
