"""Ways to print hits. Each is stable: programs read them."""

import csv
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mmsearch.pipeline.query import Hit

__all__ = ["FORMATS", "printable", "record"]


def printable(text: str) -> str:
    """Text that cannot steer a terminal or break a line: control characters and undecodable bytes shown as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def _shown(hit: "Hit") -> str:
    """A caption, or the file by the shortest path that opens it from here."""
    if hit.caption is not None:
        return hit.caption
    file = Path(hit.file or hit.path or "")
    return str(file.relative_to(Path.cwd())) if file.is_relative_to(Path.cwd()) else str(file)


def _table(hits: Sequence["Hit"]) -> None:
    if not sys.stdout.isatty():
        for hit in hits:
            print(hit.rank, f"{hit.score:.4f}", printable(hit.caption or hit.file or hit.path or ""), sep="\t")
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    captions = bool(hits) and hits[0].table == "captions"
    table = Table(box=None, pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("score", justify="right")
    table.add_column("caption" if captions else "picture", overflow="fold")
    if captions:
        table.add_column("of", overflow="fold", style="dim")
    for hit in hits:
        # A terminal that knows links opens the picture on a click.
        link = f"link {Path(hit.file).as_uri()}" if hit.file else ""
        cells = [Text(printable(_shown(hit)), style=link)]
        if captions:
            cells.append(Text(printable(hit.path or "")))
        table.add_row(str(hit.rank), f"{hit.score:.4f}", *cells)
    Console().print(table)


def record(hit: "Hit") -> dict[str, object]:
    """A hit as the object of a JSON line."""
    file = None if hit.file is None else os.fsencode(hit.file).decode("utf-8", "backslashreplace")
    common: dict[str, object] = {"rank": hit.rank, "score": hit.score, "row_id": hit.row_id}
    if hit.table == "captions":
        return common | {"caption": hit.caption, "path": hit.path, "file": file}
    taken_at = hit.taken_at.isoformat() if hit.taken_at else None
    return common | {"path": hit.path, "file": file, "width": hit.width, "height": hit.height, "taken_at": taken_at}


def _jsonl(hits: Sequence["Hit"]) -> None:
    for hit in hits:
        print(json.dumps(record(hit), ensure_ascii=False))


def _csv(hits: Sequence["Hit"]) -> None:
    records = [record(hit) for hit in hits]
    writer = csv.DictWriter(sys.stdout, list(records[0]) if records else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(records)


def _paths(hits: Sequence["Hit"]) -> None:
    # As bytes: a name that is no text must still reach the next program as it is.
    for file in dict.fromkeys(hit.file for hit in hits if hit.file):
        sys.stdout.buffer.write(os.fsencode(file) + b"\n")
    sys.stdout.buffer.flush()


FORMATS: dict[str, Callable[[Sequence["Hit"]], None]] = {
    "table": _table,
    "jsonl": _jsonl,
    "csv": _csv,
    "paths": _paths,
}
