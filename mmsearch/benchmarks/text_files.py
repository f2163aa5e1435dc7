"""Readers of annotations in lines: Flickr's token files, and tables with or without a header."""

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmsearch.benchmarks.json_files import CAPTION_COLUMNS, IMAGE_COLUMNS
from mmsearch.benchmarks.model import Draft
from mmsearch.benchmarks.names import ENDINGS

__all__ = ["Line", "read_lines"]

NUMBER_COLUMNS = ("comment_number", "caption_number", "number")
TOKEN = re.compile(r"(?P<name>[^\t]*[^\t\s])#(?P<number>\d+)[ ]*\t(?P<caption>.*)", re.DOTALL)
_NAME = rf"(?P<name>[^\t,|;]+?\.(?:{'|'.join(ENDINGS)}))"
BARE = re.compile(_NAME + r"\s*(?P<delimiter>[\t,|;])(?P<caption>.*\w.*)", re.DOTALL | re.IGNORECASE)
ANOTHER_NAME = re.compile(r"\s*" + _NAME + r"(#\d+)?(\s|$)", re.IGNORECASE)
# The one bad row of Kaggle's results.csv lacks the bar between number and comment: `2199200615.jpg| 4   A dog
# runs…`.
NUMBER_AND_CAPTION = re.compile(r"\s*(?P<number>\d+)\s+(?P<caption>\D.*)", re.DOTALL)

LOOKED_AT = 20
"""How many lines decide what a file is: the first may be damaged, and a header stands on the first."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. number: from 1. text: without its end."""

    number: int
    text: str


def read_lines(lines: list[Line]) -> Draft | None:
    """The draft of a file of lines, None where it is none of the known kinds."""
    some = lines[:LOOKED_AT]
    if any(TOKEN.fullmatch(line.text) for line in some):
        return _read_token(lines)
    if table := _table(lines[0].text):
        return _read_table(lines, table)
    if 2 * sum(_is_bare(line.text) for line in some) > len(some):
        return _read_bare(lines)
    return None


def _read_token(lines: list[Line]) -> Draft:
    draft = Draft("Flickr token file")
    rows = _Rows(draft)
    for line in lines:
        if found := TOKEN.fullmatch(line.text):
            rows.add(line, found["name"], found["caption"], found["number"])
        else:
            rows.malformed(line)
    return draft


def _is_bare(text: str) -> bool:
    """Whether a line is an image's name and a caption, and not e.g. Flickr8k's judgements: a name and another
    name."""
    found = BARE.fullmatch(text)
    return found is not None and not ANOTHER_NAME.match(found["caption"])


def _read_bare(lines: list[Line]) -> Draft:
    draft = Draft("table without a header")
    rows = _Rows(draft)
    for line in lines:
        found = BARE.fullmatch(line.text)
        if found:
            rows.add(line, found["name"], _unquoted(found["caption"]))
        else:
            rows.malformed(line)
    return draft


@dataclass(frozen=True, slots=True)
class _Table:
    """The header of a table: its delimiter, how many columns, and which of them are what."""

    delimiter: str
    columns: tuple[str, ...]
    image: int
    caption: int
    number: int | None
    split: int | None


def _table(header: str) -> _Table | None:
    for delimiter in "\t|;,":
        columns = tuple(name.strip().strip('"').strip().lower() for name in header.split(delimiter))
        image, caption = _column(columns, IMAGE_COLUMNS), _column(columns, CAPTION_COLUMNS)
        if image is not None and caption is not None:
            number, split = _column(columns, NUMBER_COLUMNS), _column(columns, ("split",))
            return _Table(delimiter, columns, image, caption, number, split)
    return None


def _column(columns: tuple[str, ...], names: tuple[str, ...]) -> int | None:
    return next((columns.index(name) for name in names if name in columns), None)


def _read_table(lines: list[Line], table: _Table) -> Draft:
    draft = Draft(f"table with the header {table.delimiter.join(table.columns)}")
    rows = _Rows(draft)
    for line, cells in _strict(lines, table) or _tolerant(lines[1:], table):
        if len(cells) != len(table.columns):
            _repair(rows, line, cells, table)
            continue
        split = cells[table.split].strip() or None if table.split is not None else None
        number = cells[table.number] if table.number is not None else None
        for caption in _several(cells[table.caption]):
            rows.add(line, cells[table.image], caption, number, split)
    return draft


def _several(cell: str) -> list[str]:
    """The captions of a cell: one, or as in flickr_annotations_30k.csv all five of an image, as a JSON list."""
    if cell.lstrip().startswith('["'):
        try:
            captions = json.loads(cell)
        except ValueError:
            return [cell]
        if all(isinstance(caption, str) for caption in captions):
            return list(captions)
    return [cell]


def _strict(lines: list[Line], table: _Table) -> list[tuple[Line, list[str]]] | None:
    """The rows of a table that is proper CSV throughout, where captions may hold delimiters, quotes and line
    ends."""
    reader = csv.reader(
        io.StringIO("\n".join(line.text for line in lines), newline=""), delimiter=table.delimiter, strict=True
    )
    rows: list[tuple[Line, list[str]]] = []
    try:
        next(reader)
        start = reader.line_num
        for cells in reader:
            rows.append((lines[start], cells))
            start = reader.line_num
    except (csv.Error, StopIteration):
        return None
    return rows if all(len(cells) == len(table.columns) for _, cells in rows) else None


def _tolerant(lines: list[Line], table: _Table) -> Iterator[tuple[Line, list[str]]]:
    """Row by row: what does not follow CSV's rules is read as it was meant, e.g. bare commas in a last column
    of captions."""
    last = len(table.columns) - 1
    for line in lines:
        try:
            cells = next(csv.reader([line.text], delimiter=table.delimiter, strict=True))
        except csv.Error:
            cells = []
        if len(cells) != last + 1:
            cells = line.text.split(table.delimiter, last if table.caption == last else -1)
            cells[-1] = _unquoted(cells[-1])
        yield line, cells


def _repair(rows: "_Rows", line: Line, cells: list[str], table: _Table) -> None:
    """A row one column short, whose number and caption run together, can be read; any other is malformed."""
    number = table.number
    together = number is not None and number + 1 == table.caption and len(cells) == len(table.columns) - 1
    found = NUMBER_AND_CAPTION.fullmatch(cells[number]) if together and number is not None else None
    if found is None:
        rows.malformed(line)
        return
    rows.draft.report("repaired_row", f"line {line.number}: {line.text[:80]}")
    rows.add(line, cells[table.image], found["caption"], found["number"])


def _unquoted(cell: str) -> str:
    """What a quoted cell stands for; a cell that only has quotes in it is left as it is."""
    cell = cell.strip()
    inside = cell[1:-1]
    quoted = len(cell) >= 2 and cell[0] == cell[-1] == '"' and '"' not in inside.replace('""', "")
    return inside.replace('""', '"') if quoted else cell


class _Rows:
    """Adds rows to a draft, and knows which numbered ones it has seen."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._seen: set[tuple[str, str]] = set()

    def malformed(self, line: Line) -> None:
        self.draft.report("malformed_row", f"line {line.number}: {line.text[:80]}")

    def add(self, line: Line, name: str, caption: str, number: str | None = None, split: str | None = None) -> None:
        name = name.strip()
        if not name:
            self.malformed(line)
            return
        if number is not None:
            key = (name, number.strip())
            if key in self._seen:
                self.draft.report("duplicate_row", f"line {line.number}: {name}#{key[1]}")
                return
            self._seen.add(key)
        self.draft.caption(self.draft.image(name, "", split), caption, f"line {line.number}")
