"""Ways to print an answer. Each is stable: programs read them. `mmsearch guide searching` says what they hold."""

import csv
import io
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmsearch.cli.options import say
from mmsearch.cli.table import from_here, print_table
from mmsearch.items import BOTH, DEFAULT_KIND, kind
from mmsearch.names import printable
from mmsearch.search.answers import hit_records
from mmsearch.search.hits import columns, shown_file

if TYPE_CHECKING:
    from mmsearch.search.answers import Answer
    from mmsearch.search.hits import Hit

__all__ = ["FORMATS", "csv_line", "from_here", "keep_files", "keep_page", "keep_sheet", "print_run"]


def _table(answer: "Answer") -> None:
    """For people; where stdout is no terminal, for programs that take lines of fields."""
    if sys.stdout.isatty():
        print_table(answer)
        return
    if (words := answer.worth.in_words()) is not None:
        say(words)
    for hit in answer.hits:
        what = printable(hit.text or hit.file or hit.path or "")
        print(hit.rank, f"{hit.score:.4f}", what, *(["gone"] if hit.gone else []), sep="\t")


def _jsonl(answer: "Answer") -> None:
    for hit in hit_records(answer):
        print(json.dumps(hit, ensure_ascii=False))


def _csv(answer: "Answer") -> None:
    for cells in _cells(answer):
        print(csv_line(cells))


def _csv_safe(answer: "Answer") -> None:
    """For spreadsheets. They run a cell that begins like a formula, in quotes too, take bytes without a mark for those
    of another alphabet, and in half of the world cut lines at semicolons outside of quotes."""
    if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        print("\ufeff", end="")
    for cells in _cells(answer):
        safe = [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
        print(csv_line(safe, csv.QUOTE_NONNUMERIC))


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last four are = + - @ as wide as a Japanese letter."""


def _cells(answer: "Answer") -> Iterator[list[object]]:
    """The header, then a row a hit."""
    records = hit_records(answer)
    header = [*dict.fromkeys(name for each in records for name in each)]  # hits of several kinds are told differently
    yield [*(header or columns(DEFAULT_KIND if answer.query.table == BOTH else kind(answer.query.table)))]
    for each in records:
        values = [each.get(name) for name in header]
        yield [_cell(value) for value in values]


def _cell(value: object) -> object:
    """A value as it stands in CSV: a list, or true and false, as JSON has it."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, bool | list) else value


def csv_line(cells: list[object], quoting: Literal[0, 2] = csv.QUOTE_MINIMAL) -> str:
    """A line of CSV without its end. Python quotes a carriage return only where it is part of what ends a line."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n", quoting=quoting).writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def _files(answer: "Answer", end: bytes) -> None:
    # As bytes: a name that is no text must still reach the next program as it is.
    sys.stdout.flush()
    for file in dict.fromkeys(hit.whole_file for hit in answer.hits if hit.whole_file):
        sys.stdout.buffer.write(os.fsencode(file) + end)
    sys.stdout.buffer.flush()


def _paths(answer: "Answer") -> None:
    _files(answer, b"\n")


def _paths0(answer: "Answer") -> None:
    _files(answer, b"\0")


def _trec(answer: "Answer") -> None:
    print_run([(answer.query.id, answer.hits)])


def print_run(answers: "Sequence[tuple[str, Sequence[Hit]]]") -> None:
    """`qid Q0 docno rank score tag`: (id of the query, its hits) as a TREC run.

    What stands for no file (a caption) has no name of its own and is called by its row id. What does is called by its
    path, or, where the run holds that path below two roots, by its file.
    """
    import numpy as np

    from mmsearch.runs import run_lines

    roots: dict[str | None, set[str | None]] = {}
    for _, hits in answers:
        for hit in hits:
            roots.setdefault(hit.path, set()).add(hit.root)

    def name(hit: "Hit") -> str:
        if hit.kind.files is None:
            return str(hit.row_id)
        return (hit.path if len(roots[hit.path]) == 1 else shown_file(hit)) or str(hit.row_id)

    for query, hits in answers:
        scores = np.array([[hit.ranking for hit in hits]])
        for line in run_lines([query], [[name(hit) for hit in hits]], scores):
            print(line)


def keep_sheet(answer: "Answer", file: Path) -> None:
    """Draw the hits into a file too."""
    from mmsearch.render import contact_sheet

    say(f"contact sheet: {contact_sheet([answer], file)}")


def keep_page(answer: "Answer", file: Path) -> None:
    """Write a page of the hits too."""
    from mmsearch.render import html_page

    say(f"page: {html_page([answer], file)}")


def keep_files(answer: "Answer", folder: Path, *, cut: bool = False) -> None:
    """Copy the files of the hits too; what could not be copied is said. cut: of films the moments alone."""
    from mmsearch.render.collecting import collect

    collected = collect(answer.hits, folder, cut=cut)
    for file, reason in collected.whole:
        say(f"warning: copied whole, {reason}: {printable(file)}")
    for file, reason in collected.failed:
        say(f"warning: not copied, {reason}: {printable(file)}")
    there = f"; {len(collected.present)} stood there already" if collected.present else ""
    say(f"copied {len(collected.copied)} files to {collected.folder}{there}")


FORMATS: dict[str, Callable[["Answer"], None]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
    "csv-safe": _csv_safe,
    "paths": _paths,
    "paths0": _paths0,
    "trec": _trec,
}
