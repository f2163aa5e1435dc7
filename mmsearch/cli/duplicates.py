"""`mmsearch duplicates`"""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from mmsearch.cli.hits import from_here
from mmsearch.cli.options import GalleryOption, NearOption, path, say
from mmsearch.cli.progress import display
from mmsearch.names import is_unicode, printable

if TYPE_CHECKING:
    from mmsearch.upkeep.duplicates import DuplicateGroup, DuplicateKind, DuplicatesReport


_WORDS: "dict[DuplicateKind, str]" = {
    "identical": "the same file",
    "same_picture": "the same picture",
    "burst": "a burst",
}


def _kind(text: str) -> str:
    if text not in _WORDS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(repr, _WORDS))}.")
    return text


def duplicates(
    gallery: GalleryOption = None,
    where: Annotated[
        str | None,
        typer.Option(metavar="SQL", help="Only among pictures that a filter admits: an expression over the columns."),
    ] = None,
    near: NearOption = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            metavar=f"[{'|'.join(_WORDS)}]", parser=_kind, help="Only groups of this kind. Repeatable. Default: all."
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, metavar="S", help="At most between two pictures of a burst; 0 for no bursts.")
    ] = 3.0,
    quick: Annotated[
        bool, typer.Option("--quick", help="Read only the pictures whose vectors are near to those of others.")
    ] = False,
    output: Annotated[
        Literal["table", "jsonl", "paths", "paths0"] | None,
        typer.Option(
            "--format",
            help="How to print: groups for people (default), a group a line as JSON, or the paths of all but the best "
            "of each group, a line each or for xargs -0.",
        ),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", parser=path, help="Write a page that shows the groups side by side.")
    ] = None,
) -> None:
    """List pictures that show the same: the same file, the same picture in other forms, bursts. Nothing is deleted.

    In each group the best comes first, with what speaks for it: it is whole, has the most pixels, the most bytes, is
    the oldest; of a burst it is the sharpest. Every picture is read, and compared in small with every other; with
    --kind identical alone none is.
    """
    from mmsearch.upkeep.duplicates import duplicates as run

    if html is not None:
        from mmsearch.render import require_outputs

        require_outputs(page=html, sheet=None)
    with display(interrupted="nothing was changed") as shown:
        report = run(
            gallery,
            where=where,
            near=near,
            kinds=kind or [*_WORDS],
            burst_seconds=seconds,
            quick=quick,
            progress=shown.progress,
        )
    for file, reason in report.unread[:_NAMED]:
        say(f"{file} was not looked at: {reason}")
    if len(report.unread) > _NAMED:
        say(f"nor were {len(report.unread) - _NAMED:,} more")
    if html is not None:
        from mmsearch.render import duplicates_page

        say(f"wrote {duplicates_page(report, html)}")
    _FORMATS[output or "table"](report)


_NAMED = 5  # files that could not be read


def _table(report: "DuplicatesReport") -> None:
    for group in report.groups:
        print(f"{_WORDS[group.kind]}, {len(group.files)} times:")
        for file in group.files:
            facts = "  ".join((*file.facts, *([f"best: {group.why}"] if file is group.best else [])))
            print(f"  {'*' if file is group.best else ' '} {printable(from_here(file.path))}  {facts}")
    spare = f"; {report.spare_bytes / 1e6:,.1f} MB in all but the best" if report.spare_bytes else ""
    say(f"{len(report.groups):,} groups among {report.pictures:,} pictures{spare}. Nothing was deleted")


def _jsonl(report: "DuplicatesReport") -> None:
    for group in report.groups:
        print(_as_json(group))


def _as_json(group: "DuplicateGroup") -> str:
    paths = [file.path for file in group.files]
    document = {"kind": group.kind, "best": group.best.path, "paths": paths, "why": group.why}
    return json.dumps(document, ensure_ascii=not all(map(is_unicode, paths)))


def _paths(end: bytes) -> "Callable[[DuplicatesReport], None]":
    def write(report: "DuplicatesReport") -> None:
        for group in report.groups:
            for file in group.others:
                sys.stdout.buffer.write(os.fsencode(file.path) + end)

    return write


_FORMATS: "dict[str, Callable[[DuplicatesReport], None]]" = {
    "table": _table,
    "jsonl": _jsonl,
    "paths": _paths(b"\n"),
    "paths0": _paths(b"\0"),
}
