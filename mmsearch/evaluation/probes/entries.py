"""Annotation files as entries, each of which knows the line that it stands in."""

import bisect
import csv
import io
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.benchmarks.annotation_files import read_bytes
from mmsearch.benchmarks.image_names import is_image_name
from mmsearch.benchmarks.text_lines import to_utf8
from mmsearch.errors import BenchmarkError
from mmsearch.evaluation.probes.parquet_pictures import rows_without_pictures
from mmsearch.names import printable
from mmsearch.stores import without_gz

__all__ = ["Entry", "entries_of_file", "picture_names", "probe_files"]

ANNOTATION_ENDINGS = (".json", ".jsonl", ".csv", ".tsv", ".parquet")


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an annotation file.

    Attributes:
        file: The file that it stands in.
        where: Where in it: "line 12", "row 7".
        number: Which entry it is, from 0.
        key: What it is called in the file; None where entries have no names.
        value: What stands there.
    """

    file: Path
    where: str
    number: int
    key: str | None
    value: Any

    def fail(self, message: str) -> BenchmarkError:
        """An error about this entry, which names file and line."""
        return BenchmarkError(f"{self.file}, {self.where}: {printable(message)}")

    def get(self, *names: str) -> Any:
        """The value under the first of these names that there is. Raises BenchmarkError where there is none."""
        value = self.find(*names)
        if value is None:
            there = (
                ", ".join(map(repr, list(self.value)[:8])) if isinstance(self.value, dict) else repr(self.value)[:80]
            )
            raise self.fail(f"no {' or '.join(map(repr, names))}; there is {there or 'nothing'}")
        return value

    def find(self, *names: str) -> Any:
        """The same, or None."""
        if not isinstance(self.value, dict):
            return None
        return next((self.value[name] for name in names if self.value.get(name) is not None), None)

    def text(self, *names: str) -> str:
        """A text that is not empty. Of a list, the first."""
        value = self.get(*names)
        value = value[0] if isinstance(value, list) and value else value
        if not isinstance(value, str) or not value.strip():
            raise self.fail(f"{names[0]!r} is {value!r:.60}, not a text")
        return value


def probe_files(annotations: Path) -> list[Path]:
    """The annotation files that are meant: one, or those in a folder, sorted. Raises BenchmarkError."""
    if not annotations.is_dir():
        return [annotations]
    files = sorted(
        annotations / name
        for name in os.listdir(annotations)
        if Path(without_gz(name)).suffix.lower() in ANNOTATION_ENDINGS
    )
    if not files:
        raise BenchmarkError(
            f"annotations: {annotations} holds no {', '.join(ANNOTATION_ENDINGS[:-1])} or {ANNOTATION_ENDINGS[-1]} file"
        )
    return files


def entries_of_file(file: Path, noun: str = "annotations") -> Iterator[Entry]:
    """The entries of a JSON list or object, JSON lines, a table with a header, or Parquet. noun: what the file is, for
    messages. Raises BenchmarkError."""
    data = read_bytes(file, noun)
    if data.startswith(b"PAR1"):
        yield from _parquet_rows(file)
        return
    data = to_utf8(data)
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise BenchmarkError(f"{file}, line {line:,}: not UTF-8") from None
    first = text.lstrip()[:1]
    if not first:
        raise BenchmarkError(f"{file}: empty")
    if first not in ("[", "{"):
        yield from _table_rows(file, text)
    elif _is_of_lines(text):
        yield from _json_lines(file, text)
    else:
        yield from _json_entries(file, text)


def picture_names(folder: Path) -> Iterator[Entry]:
    """The names of the pictures in a folder and below it, sorted, as entries: probes whose names say all."""
    names = sorted(
        (Path(base) / name).relative_to(folder).as_posix()
        for base, _, files in os.walk(folder)
        for name in files
        if is_image_name(name) and not name.startswith(".")
    )
    if not names:
        raise BenchmarkError(f"annotations: {folder} holds no pictures")
    yield from (Entry(folder / name, "its name", number, None, name) for number, name in enumerate(names))


class _Lines:
    """Which line a place in a text is in."""

    def __init__(self, text: str) -> None:
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def line_of(self, place: int) -> int:
        return bisect.bisect_left(self._ends, place) + 1


def _json_entries(file: Path, text: str) -> Iterator[Entry]:
    """The entries of a list or of an object, one after the other, so that each knows its line."""
    lines, decoder = _Lines(text), json.JSONDecoder()
    start = re.match(r"\s*", text).end()  # type: ignore[union-attr]
    named, closing = text[start] == "{", "}" if text[start] == "{" else "]"
    place, number = _after_space(text, start + 1), 0
    try:
        while text[place : place + 1] != closing:
            begun = place
            key = None
            if named:
                key, place = decoder.raw_decode(text, place)
                place = _after_space(text, place)
                if text[place : place + 1] != ":" or not isinstance(key, str):
                    raise json.JSONDecodeError("no name and colon", text, place)
                place = _after_space(text, place + 1)
            value, place = decoder.raw_decode(text, place)
            yield Entry(file, f"line {lines.line_of(begun):,}", number, key, value)
            number += 1
            place = _after_space(text, place)
            if text[place : place + 1] == ",":
                place = _after_space(text, place + 1)
            elif text[place : place + 1] != closing:
                raise json.JSONDecodeError(f"neither a comma nor {closing}", text, place)
        if (more := _after_space(text, place + 1)) < len(text):
            raise json.JSONDecodeError("more than one value", text, more)
    except json.JSONDecodeError as error:
        raise BenchmarkError(f"{file}, line {error.lineno:,}: no valid JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise BenchmarkError(f"{file}: JSON, but too deeply nested or with too long numbers for annotations") from None
    if number == 0:
        raise BenchmarkError(f"{file}: no entries")


def _after_space(text: str, place: int) -> int:
    while place < len(text) and text[place] in " \t\r\n":
        place += 1
    return place


def _is_of_lines(text: str) -> bool:
    """Whether each line is an object: the first one is whole, and others follow or it is no object of objects."""
    line, _, rest = text.lstrip().partition("\n")
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return False
    if not isinstance(value, dict):
        return False
    return rest.lstrip().startswith("{") or not any(isinstance(each, dict | list) for each in value.values())


def _json_lines(file: Path, text: str) -> Iterator[Entry]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise BenchmarkError(f"{file}, line {number:,}: no valid JSON: {error}") from None
        yield Entry(file, f"line {number:,}", number - 1, None, value)


def _table_rows(file: Path, text: str) -> Iterator[Entry]:
    header = text.partition("\n")[0]
    # Tabs, and semicolons where Excel writes those: whatever the names in the header stand most often between.
    delimiter = "\t" if "\t" in header else ";" if header.count(";") > header.count(",") else ","
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = [name.strip() for name in next(reader)]
        begun, number = reader.line_num + 1, 0
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if len(cells) != len(names):
                    raise BenchmarkError(
                        f"{file}, line {begun:,}: {len(cells)} cells under {len(names)} names ({', '.join(names)})"
                    )
                yield Entry(file, f"line {begun:,}", number, None, dict(zip(names, cells, strict=True)))
                number += 1
            begun = reader.line_num + 1
    except csv.Error as error:
        raise BenchmarkError(f"{file}, line {reader.line_num:,}: no table: {error}") from None
    if number == 0:
        raise BenchmarkError(f"{file}: a header and no rows")


def _parquet_rows(file: Path) -> Iterator[Entry]:
    """All but the pictures themselves, which are read when they are needed."""
    for number, row in enumerate(rows_without_pictures(file)):
        yield Entry(file, f"row {number + 1:,}", number, None, row)
