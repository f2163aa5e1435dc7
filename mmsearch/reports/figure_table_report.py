"""Reports with a row a language, a fold, a set of positives: as JSON, Markdown, a page, CSV and LaTeX."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mmsearch.errors import StoreError
from mmsearch.evaluation import FigureName, FigureReport, FigureRow, FigureTable, figures_to_json
from mmsearch.names import printable
from mmsearch.reports.markdown import Table
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.reports.spreadsheets import latex_text
from mmsearch.reports.tabled_report import TABLED_KINDS, TabledReport, write_tabled

__all__ = ["FIGURE_KINDS", "figure_cells", "figure_report", "write_figures"]

FIGURE_KINDS = (*TABLED_KINDS, ".tex")
"""The suffixes of the files that `write_figures` writes."""

_Path = str | os.PathLike[str]


def write_figures(report: FigureReport, target: _Path) -> tuple[Path, ...]:
    """Write a report to a .json, .md, .html, .csv or .tex file, or all of them to a folder; returns the files.

    Raises StoreError.
    """
    path = require_target(target, FIGURE_KINDS)
    if path.suffix.lower() == ".tex" and not path.is_dir():
        return (write_text(path, _latex(report)),)
    if path.suffix.lower() in FIGURE_KINDS and not path.is_dir():
        return write_tabled(figure_report(report), path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    return (*write_tabled(figure_report(report), path), write_text(path / "figures.tex", _latex(report)))


def figure_report(report: FigureReport) -> TabledReport:
    """The report as it is written."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return TabledReport(
        name="figures",
        title=report.title,
        verdict=_verdict(report),
        notes=(f"Annotations read as {report.source}.",),
        explained="Figures in percent; with their 95 % intervals in brackets where they stand in no direction. The "
        "JSON and the CSV have the intervals of all.",
        tables={
            f"{table.encoder.spec}, {table.precision} on {table.device}": figure_cells(report, table)
            for table in report.tables
        },
        problems=report.problems,
        protocol=report.protocol,
        figures=[_csv_row(report, table, row) for table in report.tables for row in table.rows],
        pictures=_no_pictures,
        document=figures_to_json(report),
        made_by=f"{versions}. {', '.join(report.hardware.values())} cores.",
    )


def figure_cells(report: FigureReport, table: FigureTable) -> Table:
    """The header and the rows of a table in percent, with the interval of a figure where it stands in no direction. For
    people."""
    counts = list(dict.fromkeys(name for table in report.tables for row in table.rows for name in row.counts))
    header = [report.rows_are, *(_heading(figure) for figure in report.columns), *counts]
    rows = [
        [
            printable(row.name),
            *(_percent(row, figure) for figure in report.columns),
            *(f"{row.counts[name]:,}" if name in row.counts else "" for name in counts),
        ]
        for row in table.rows
    ]
    return header, rows


def _verdict(report: FigureReport) -> str:
    """The figure that counts of each model, in the row that counts."""
    name, figure = report.headline
    rows = ((table.encoder.spec, row) for table in report.tables for row in table.rows if row.name == name)
    return "; ".join(f"{spec}: {_heading(figure)} {_percent(row, figure)} %, {name}" for spec, row in rows) + "."


def _no_pictures() -> Iterator[str]:
    return iter(())


def _csv_row(report: FigureReport, table: FigureTable, row: FigureRow) -> dict[str, Any]:
    """Each figure, and the ends of its interval."""
    cells: dict[str, Any] = {"benchmark": report.benchmark, "model": table.encoder.spec, report.rows_are: row.name}
    for figure in report.columns:
        name = _heading(figure)
        cells[name] = row.figures.get(figure, "")
        if (around := row.intervals.get(figure)) is not None:
            cells[f"{name} low"], cells[f"{name} high"] = around.low, around.high
    return cells | dict(row.counts)


def _latex(report: FigureReport) -> str:
    """A table for booktabs, all figures in percent."""
    columns = report.columns
    lines = [r"% \usepackage{booktabs}", r"\begin{table}", r"  \centering"]
    lines += [rf"  \caption{{{latex_text(f'{report.title}. In percent. {report.protocol}')}}}"]
    lines += [rf"  \begin{{tabular}}{{ll{'r' * len(columns)}}}", r"    \toprule"]
    headings = ["model", report.rows_are, *map(_heading, columns)]
    lines += ["    " + " & ".join(map(latex_text, headings)) + r" \\", r"    \midrule"]
    for table in report.tables:
        for number, row in enumerate(table.rows):
            values = [f"{100 * row.figures[figure]:.1f}" if figure in row.figures else "" for figure in columns]
            cells = [table.encoder.spec if number == 0 else "", row.name, *values]
            lines.append("    " + " & ".join(map(latex_text, cells)) + r" \\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]) + "\n"


def _heading(figure: FigureName) -> str:
    group, name = figure
    return f"{group} {name}".strip()


def _percent(row: FigureRow, figure: FigureName) -> str:
    if figure not in row.figures:
        return ""
    value, around = f"{100 * row.figures[figure]:.2f}", row.intervals.get(figure)
    if around is None or figure[0]:
        return value
    return f"{value} [{100 * around.low:.1f}, {100 * around.high:.1f}]"
