"""Reports that are tables with words around them and pictures below: JSON, Markdown, a page, CSV."""

import csv
import io
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmsearch.errors import StoreError
from mmsearch.reports.markdown import Table, format_table
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.strict_json import json_text

__all__ = [
    "TABLED_KINDS",
    "TabledReport",
    "tabled_markdown",
    "tabled_page",
    "write_tabled",
]

TABLED_KINDS = (".json", ".md", ".html", ".csv")
"""The suffixes of the files that `write_tabled` writes."""


@dataclass(frozen=True, slots=True)
class TabledReport:
    """What a report says, whatever it is about.

    Attributes:
        name: What its files are called in a folder.
        notes: What was measured and with what, a sentence each.
        explained: How to read the tables.
        tables: Heading -> table.
        figures: The rows of the CSV.
        pictures: Makes the HTML of pictures; called for pages alone, since it reads them.
        document: All of it, for JSON.
    """

    name: str
    title: str
    verdict: str
    notes: tuple[str, ...]
    explained: str
    tables: Mapping[str, Table]
    problems: tuple[str, ...]
    protocol: str
    figures: Sequence[Mapping[str, Any]]
    pictures: Callable[[], Iterator[str]]
    document: Mapping[str, Any]
    made_by: str


def write_tabled(report: TabledReport, target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a report to a .json, .md, .html or .csv file, or all of them to a folder; returns the files.

    Raises StoreError.
    """
    path = require_target(target, TABLED_KINDS)
    if path.suffix.lower() in TABLED_KINDS and not path.is_dir():
        return (_write_kind(report, path),)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    return tuple(_write_kind(report, path / f"{report.name}{kind}") for kind in TABLED_KINDS)


def _write_kind(report: TabledReport, file: Path) -> Path:
    texts = {".json": _json, ".md": tabled_markdown, ".html": tabled_page, ".csv": _csv}
    return write_text(file, texts[file.suffix.lower()](report))


def _json(report: TabledReport) -> str:
    return json_text(report.document, default=str, indent=1) + "\n"


def _csv(report: TabledReport) -> str:
    """A row a figure."""
    names = list(dict.fromkeys(name for row in report.figures for name in row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(report.figures)
    return out.getvalue()


def tabled_markdown(report: TabledReport) -> str:
    """The whole report as Markdown, without pictures."""
    parts = [f"# {report.title}", "", f"**{report.verdict}**", "", *report.notes, "", report.explained, ""]
    for heading, table in report.tables.items():
        parts += [f"## {heading}", "", *format_table(table), ""]
    parts += ["## Protocol", "", report.protocol, ""]
    parts += [*(f"- {problem}" for problem in report.problems), *([""] if report.problems else [])]
    return "\n".join([*parts, report.made_by]) + "\n"


def tabled_page(report: TabledReport) -> str:
    """The whole report as one HTML file, pictures within."""
    parts = [f"<h1>{escape(report.title)}</h1>", f"<p><b>{escape(report.verdict)}</b></p>"]
    parts += [f"<p class=faint>{escape(note)}</p>" for note in report.notes]
    if report.problems:
        parts.append("<ul>" + "".join(f"<li>{escape(problem)}</li>" for problem in report.problems) + "</ul>")
    parts.append(f"<p class=faint>{escape(report.explained)}</p>")
    for heading, table in report.tables.items():
        parts += [f"<h2>{escape(heading)}</h2>", table_html(table)]
    parts += report.pictures()
    parts += [
        "<h2>Protocol</h2>",
        f"<p>{escape(report.protocol)}</p>",
        f"<p class=faint>{escape(report.made_by)}</p>",
    ]
    return document(report.title, parts)
