"""Readers of annotations in lines: Flickr's token files, and tables with or without a header."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass

from mmsearch.benchmarks.model import Draft
from mmsearch.sources.caption_tables import (
    LOOKED_AT,
    BareRows,
    ColumnNames,
    Layout,
    captions_in_cell,
    find_bare_rows,
    find_layout,
    unquote,
)

__all__ = ["Line", "read_lines"]

TOKEN = re.compile(r"(?P<name>[^\t]*[^\t\s])#(?P<number>\d+)[ ]*\t(?P<caption>.*)", re.DOTALL)
# The one bad row of Kaggle's results.csv lacks the bar between number and comment: `2199200615.jpg| 4   A dog
# runs…`.
NUMBER_AND_CAPTION = re.compile(r"\s*(?P<number>\d+)\s+(?P<caption>\D.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Line:
    """A line that is not blank. number: from 1. text: without its end."""

    number: int
    text: str


def read_lines(lines: list[Line], names: ColumnNames, *, table: bool) -> Draft | None:
    """The draft of a file of lines, None where it is none of the known kinds. names, table: as of `find_layout`, which
    raises UnknownColumns."""
    texts = [line.text for line in lines[:LOOKED_AT]]
    if any(TOKEN.fullmatch(text) for text in texts):
        return _read_token(lines)
    if layout := find_layout(texts, names, table=table):
        return _read_table(lines, layout)
    if bare := find_bare_rows(texts):
        return _read_bare(lines, bare)
    return None


def _read_token(lines: list[Line]) -> Draft:
    draft = Draft("Flickr token file")
    rows = _RowAdder(draft)
    for line in lines:
        if match := TOKEN.fullmatch(line.text):
            rows.add_row(line, match["name"], match["caption"], match["number"])
        else:
            rows.report_malformed(line)
    return draft


def _read_bare(lines: list[Line], bare: BareRows) -> Draft:
    draft = Draft("table without a header")
    rows = _RowAdder(draft)
    for line in lines:
        if cells := bare.split(line.text):
            name, number, caption = cells
            rows.add_row(line, name, caption, number)
        else:
            rows.report_malformed(line)
    return draft


def _read_table(lines: list[Line], table: Layout) -> Draft | None:
    if table.image is None:
        return None
    draft = Draft(f"table with the header {table.delimiter.join(table.columns)}")
    rows = _RowAdder(draft)
    lines = lines[table.header_lines - 1 :]
    several = len(table.captions) > 1
    for line, cells in _read_strictly(lines, table) or _read_tolerantly(lines[1:], table):
        if len(cells) != len(table.columns):
            _repair(rows, line, cells, table)
            continue
        split = cells[table.split].strip() or None if table.split is not None else None
        number = cells[table.number] if table.number is not None and not several else None
        for column in table.captions:
            # In a wide table some images have fewer captions than others.
            for caption in captions_in_cell(cells[column]) if cells[column].strip() or not several else []:
                rows.add_row(line, cells[table.image], caption, number, split)
    return draft


def _read_strictly(lines: list[Line], table: Layout) -> list[tuple[Line, list[str]]] | None:
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


def _read_tolerantly(lines: list[Line], table: Layout) -> Iterator[tuple[Line, list[str]]]:
    """Row by row: what does not follow CSV's rules is read as it was meant, e.g. bare commas in a last column
    of captions."""
    last = len(table.columns) - 1
    for line in lines:
        try:
            cells = next(csv.reader([line.text], delimiter=table.delimiter, strict=True))
        except csv.Error:
            cells = []
        if len(cells) != last + 1:
            cells = line.text.split(table.delimiter, last if table.captions == (last,) else -1)
            cells[-1] = unquote(cells[-1])
        yield line, cells


def _repair(rows: "_RowAdder", line: Line, cells: list[str], table: Layout) -> None:
    """A row one column short, whose number and caption run together, can be read; any other is malformed."""
    number = table.number
    run_together = number is not None and (number + 1,) == table.captions and len(cells) == len(table.columns) - 1
    match = NUMBER_AND_CAPTION.fullmatch(cells[number]) if run_together and number is not None else None
    if match is None:
        rows.report_malformed(line)
        return
    rows.draft.report("repaired_row", f"line {line.number}: {line.text[:80]}")
    rows.add_row(line, cells[table.image or 0], match["caption"], match["number"])


class _RowAdder:
    """Adds rows to a draft, and knows which numbered ones it has seen."""

    def __init__(self, draft: Draft) -> None:
        self.draft = draft
        self._seen: set[tuple[str, str]] = set()

    def report_malformed(self, line: Line) -> None:
        self.draft.report("malformed_row", f"line {line.number}: {line.text[:80]}")

    def add_row(self, line: Line, name: str, caption: str, number: str | None = None, split: str | None = None) -> None:
        name = name.strip()
        if not name:
            self.report_malformed(line)
            return
        if number is not None:
            key = (name, number.strip())
            if key in self._seen:
                self.draft.report("duplicate_row", f"line {line.number}: {name}#{key[1]}")
                return
            self._seen.add(key)
        self.draft.add_caption(self.draft.add_image(name, "", split), caption, f"line {line.number}")
