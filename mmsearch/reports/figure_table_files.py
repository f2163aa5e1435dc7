"""Tables of figures as files: JSON, Markdown, CSV, LaTeX. A row a language, a fold, a set of positives."""

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mmsearch.evaluation import FigureName, FigureRow, FigureTable, TableReport, table_to_json
from mmsearch.names import printable
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.reports.spreadsheets import latex_text
from mmsearch.strict_json import json_text

__all__ = ["TABLE_KINDS", "figure_cells", "write_table"]

TABLE_KINDS = (".json", ".md", ".csv", ".tex")
"""The suffixes of the files that `write_table` writes."""

_Path = str | os.PathLike[str]
_Cells: TypeAlias = tuple[tuple[str, ...], list[tuple[str, ...]]]


def write_table(report: TableReport, target: _Path) -> tuple[Path, ...]:
    """Write a report to a .json, .md, .csv or .tex file, or all of them to a folder; returns the files.

    Raises StoreError.
    """
    path = require_target(target, TABLE_KINDS)
    if path.suffix.lower() in TABLE_KINDS and not path.is_dir():
        return (_write(report, path),)
    path.mkdir(parents=True, exist_ok=True)
    return tuple(_write(report, path / f"figures{kind}") for kind in TABLE_KINDS)


def figure_cells(report: TableReport, table: FigureTable) -> _Cells:
    """The header and the rows of a table in percent, with the interval of a figure where it has one and stands in no
    direction. For people."""
    counts = _count_names(report)
    header = (report.rows_are, *(_heading(figure) for figure in report.columns), *counts)
    rows = [
        (
            printable(row.name),
            *(_percent(row, figure) for figure in report.columns),
            *(f"{row.counts[name]:,}" if name in row.counts else "" for name in counts),
        )
        for row in table.rows
    ]
    return header, rows


def _write(report: TableReport, file: Path) -> Path:
    makers = {".json": _json, ".md": _markdown, ".csv": _csv, ".tex": _latex}
    return write_text(file, makers[file.suffix.lower()](report))


def _json(report: TableReport) -> str:
    return json_text(table_to_json(report), default=str, indent=1) + "\n"


def _markdown(report: TableReport) -> str:
    lines = [f"# {report.title}", "", f"Annotations read as {report.source}.", ""]
    for table in report.tables:
        header, rows = figure_cells(report, table)
        lines += [f"## {table.encoder.spec}, {table.precision} on {table.device}", ""]
        lines += [_markdown_row(header), _markdown_row(["---", *["---:"] * (len(header) - 1)])]
        lines += [*map(_markdown_row, rows), ""]
    lines += [report.protocol, ""]
    lines += [f"- {problem}" for problem in report.problems]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _csv(report: TableReport) -> str:
    """A row a row, with each figure and the ends of its interval."""
    out = io.StringIO(newline="")
    rows = [_csv_row(report, table, row) for table in report.tables for row in table.rows]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _csv_row(report: TableReport, table: FigureTable, row: FigureRow) -> dict[str, Any]:
    cells: dict[str, Any] = {"benchmark": report.benchmark, "model": table.encoder.spec, report.rows_are: row.name}
    for figure in report.columns:
        name = _heading(figure)
        cells[name] = row.figures.get(figure, "")
        if (around := row.intervals.get(figure)) is not None:
            cells[f"{name} low"], cells[f"{name} high"] = around.low, around.high
    return cells | dict(row.counts)


def _latex(report: TableReport) -> str:
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


def _count_names(report: TableReport) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for table in report.tables for row in table.rows for name in row.counts))
