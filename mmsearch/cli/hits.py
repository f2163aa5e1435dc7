"""Ways to print an answer. Each is stable: programs read them. What they hold stands in the README."""

import csv
import json
import os
import re
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from mmsearch.cli.options import say
from mmsearch.locations import url_of
from mmsearch.pipeline.hits import COLUMNS, record, shown_file

if TYPE_CHECKING:
    from mmsearch.pipeline.answers import Answer, Hit
    from mmsearch.pipeline.collect import Collected

__all__ = ["FORMATS", "printable", "say_collected"]

_JOINERS = "\u200c\u200d"  # they print nothing, and emoji and several scripts fall apart without them


def printable(text: str) -> str:
    """Text that cannot steer a terminal or break a line: control characters and undecodable bytes shown as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(
        char if char.isprintable() or char in _JOINERS else char.encode("unicode_escape").decode() for char in text
    )


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
    writer = csv.DictWriter(sys.stdout, COLUMNS[answer.query.table], lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: str(value).lower() if isinstance(value, bool) else value for name, value in record(hit).items()}
        for hit in answer.hits
    )


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
    "paths": _paths,
    "paths0": _paths0,
    "trec": _trec,
}
