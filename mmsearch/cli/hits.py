"""Ways to print an answer. Each is stable: programs read them. What they hold stands in the README."""

import csv
import io
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from mmsearch.cli.options import say
from mmsearch.locations import url_of
from mmsearch.names import printable
from mmsearch.pipeline.hits import COLUMNS, record, shown_file

if TYPE_CHECKING:
    from mmsearch.pipeline.answers import Answer, Hit
    from mmsearch.pipeline.collect import Collected

__all__ = ["FORMATS", "printable", "say_collected"]


def _shown(hit: "Hit") -> str:
    """A caption, or the file by the shortest path that opens it from here."""
    if hit.caption is not None:
        return hit.caption
    if hit.file is not None and url_of(hit.file) is not None:
        return hit.file
    file = Path(hit.file or hit.path or "")
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _table(answer: "Answer") -> None:
    if not sys.stdout.isatty():
        for hit in answer.hits:
            what = printable(hit.caption or hit.file or hit.path or "")
            print(hit.rank, f"{hit.score:.4f}", what, *(["gone"] if hit.gone else []), sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    captions = answer.query.table == "captions"
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("caption" if captions else "picture", overflow="fold")
    if captions:
        table.add_column("of", overflow="fold", style="dim")
    for hit in answer.hits:
        # A terminal that knows links opens the picture on a click.
        cell = Text(printable(_shown(hit)), style=_link(hit))
        of = Text(printable(hit.path or ""))
        if hit.gone:
            (of if captions else cell).append("  gone", style="bold red")
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *([cell, of] if captions else [cell]))
    if answer.hits:
        Console().print(table)


def _link(hit: "Hit") -> str:
    openable = hit.file is not None and not hit.gone and url_of(hit.file) is None
    return f"link {Path(str(hit.file)).as_uri()}" if openable else ""


def _jsonl(answer: "Answer") -> None:
    for hit in answer.hits:
        print(json.dumps(record(hit), ensure_ascii=False))


def _csv(answer: "Answer") -> None:
    for cells in _cells(answer):
        print(_line(cells, csv.QUOTE_MINIMAL))


def _csv_safe(answer: "Answer") -> None:
    """For spreadsheets. They run a cell that begins like a formula, in quotes too, take bytes without a mark for those
    of another alphabet, and in half of the world cut lines at semicolons outside of quotes."""
    if (sys.stdout.encoding or "").lower().replace("-", "") == "utf8":
        print("\ufeff", end="")
    for cells in _cells(answer):
        safe = [f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
        print(_line(safe, csv.QUOTE_NONNUMERIC))


_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")
"""What a formula begins with; the last four are = + - @ as wide as a Japanese letter."""


def _cells(answer: "Answer") -> Iterator[list[object]]:
    """The header, then a row a hit."""
    yield [*COLUMNS[answer.query.table]]
    for hit in answer.hits:
        yield [str(value).lower() if isinstance(value, bool) else value for value in record(hit).values()]


def _line(cells: list[object], quoting: Literal[0, 2]) -> str:
    """A line of CSV without its end. Python quotes a carriage return only where it is part of what ends a line."""
    line = io.StringIO(newline="")
    csv.writer(line, lineterminator="\r\n", quoting=quoting).writerow(cells)
    return line.getvalue().removesuffix("\r\n")


def _files(answer: "Answer", end: bytes) -> None:
    # As bytes: a name that is no text must still reach the next program as it is.
    sys.stdout.flush()
    for file in dict.fromkeys(hit.file for hit in answer.hits if hit.file):
        sys.stdout.buffer.write(os.fsencode(file) + end)
    sys.stdout.buffer.flush()


def _paths(answer: "Answer") -> None:
    _files(answer, b"\n")


def _paths0(answer: "Answer") -> None:
    _files(answer, b"\0")


def _trec(answer: "Answer") -> None:
    """`qid Q0 docno rank score tag`, read by trec_eval, ir_measures and their kin, which split at white space."""
    times = Counter(hit.path for hit in answer.hits)
    for hit in answer.hits:
        # A caption has no name of its own; one path below two roots is two documents.
        path = str(hit.row_id) if hit.table == "captions" else hit.path if times[hit.path] == 1 else shown_file(hit)
        print(_word(answer.query.id), "Q0", _word(path or ""), hit.rank, hit.score, "mmsearch")


def _word(text: str) -> str:
    """Text without white space: that and % are percent-encoded."""
    return re.sub(r"[\s%]", lambda found: quote(found[0]), text)


def say_collected(collected: "Collected") -> None:
    """What was copied, and what could not be, on stderr."""
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
