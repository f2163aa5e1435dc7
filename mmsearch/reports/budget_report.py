"""Where recall is lost, as JSON, Markdown and a page with waterfalls."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mmsearch.errors import StoreError
from mmsearch.evaluation import BudgetReport
from mmsearch.metrics import Difference, Direction
from mmsearch.reports.markdown import Table, format_table
from mmsearch.reports.page_parts import document, escape, table_html
from mmsearch.reports.report_files import require_target, write_text
from mmsearch.reports.waterfall import waterfalls
from mmsearch.strict_json import json_text

__all__ = ["BUDGET_KINDS", "budget_markdown", "budget_page", "budget_tables", "write_budget"]

BUDGET_KINDS = (".json", ".md", ".html")
"""The suffixes of the files that `write_budget` writes."""


def write_budget(report: BudgetReport, target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a report to a .json, .md or .html file, or all of them to a folder, with the plots; returns the files.

    Raises StoreError.
    """
    path = require_target(target, BUDGET_KINDS)
    if path.suffix.lower() in BUDGET_KINDS and not path.is_dir():
        return (_write_kind(report, path),)
    try:
        (path / "plots").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"cannot make the folder {path}: {error.strerror or error}") from error
    svgs = waterfalls(report)
    files = [_write_kind(report, path / f"budget{kind}") for kind in (".json", ".md")]
    files.append(write_text(path / "budget.html", budget_page(report, svgs)))
    files += [write_text(path / "plots" / f"{name}.svg", svg) for name, svg in svgs.items()]
    return tuple(files)


def _write_kind(report: BudgetReport, file: Path) -> Path:
    kind = file.suffix.lower()
    if kind == ".json":
        return write_text(file, json_text(asdict(report), default=str, indent=1) + "\n")
    return write_text(file, budget_markdown(report) if kind == ".md" else budget_page(report))


def budget_tables(report: BudgetReport) -> dict[str, Table]:
    """Heading -> table: what the stages are, mean recall, and of each direction the steps and each stage alone."""
    tables = {"Mean recall": _mean_recall_rows(report)}
    for direction, (queries, searched) in report.queries.items():
        counts = f"{queries:,} queries, {searched:,} searched"
        tables[f"{direction}, step by step: {counts}"] = _step_rows(report, direction)
        tables[f"{direction}, each stage alone"] = _alone_rows(report, direction)
    return tables | {"Stages": _about_rows(report)}


def _mean_recall_rows(report: BudgetReport) -> Table:
    rows = [["reference", _share(report.whole.mean_recall.first), ""]]
    rows += [[s.name, _change(s.step.mean_recall), _change(s.alone.mean_recall)] for s in report.stages]
    rows += [["in all", _change(report.whole.mean_recall), ""]]
    return ["", "step", "alone"], [*rows, ["product", _share(report.whole.mean_recall.second), ""]]


def _step_rows(report: BudgetReport, direction: Direction) -> Table:
    whole = report.whole.recall[direction]
    rows = [["reference", *(_share(figure.first) for figure in whole.values())]]
    rows += [[stage.name, *map(_change, stage.step.recall[direction].values())] for stage in report.stages]
    rows += [["in all", *map(_change, whole.values())]]
    return ["", *whole], [*rows, ["product", *(_share(figure.second) for figure in whole.values())]]


def _alone_rows(report: BudgetReport, direction: Direction) -> Table:
    rows = [[stage.name, *map(_change, stage.alone.recall[direction].values())] for stage in report.stages]
    return ["", *report.whole.recall[direction]], rows


def _about_rows(report: BudgetReport) -> Table:
    directions = list(report.queries)
    return ["", *directions], [[stage.name, *(stage.about[each] for each in directions)] for stage in report.stages]


def _share(value: float) -> str:
    return f"{100 * value:.2f}"


def _change(difference: Difference) -> str:
    """Points with the ends of their interval in brackets."""
    value, low, high = (100 * each for each in (difference.value, difference.interval.low, difference.interval.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def budget_markdown(report: BudgetReport) -> str:
    """The whole report as Markdown."""
    parts = [f"# Where recall is lost: {report.title}", "", f"**{report.verdict}**", "", _made_with(report), ""]
    parts += ["Figures in percent, changes in points with their 95 % intervals in brackets.", ""]
    for heading, table in budget_tables(report).items():
        parts += [f"## {heading}", "", *format_table(table), ""]
    parts += ["## Protocol", "", report.protocol, ""]
    parts += [*(f"- {problem}" for problem in report.problems), *([""] if report.problems else [])]
    return "\n".join([*parts, _made_by(report)]) + "\n"


def budget_page(report: BudgetReport, drawn: Mapping[str, str] | None = None) -> str:
    """The whole report as one HTML file. drawn: its `waterfalls`, where they are drawn already."""
    svgs = waterfalls(report) if drawn is None else drawn
    tables = budget_tables(report)
    parts = [f"<h1>Where recall is lost: {escape(report.title)}</h1>", f"<p><b>{escape(report.verdict)}</b></p>"]
    parts += [f"<p class=faint>{escape(_made_with(report))}</p>"]
    if report.problems:
        parts.append("<ul>" + "".join(f"<li>{escape(problem)}</li>" for problem in report.problems) + "</ul>")
    parts += [
        "<p class=faint>From the reference at the top to the product at the bottom. Red: lost, and its interval lies "
        "below zero. Green: won. Grey: the interval holds zero. Lines: 95 % intervals of the change.</p>",
        f"<div class=plots>{''.join(svgs.values())}</div>",
        "<p class=faint>Figures in percent, changes in points; below them their 95 % intervals.</p>",
    ]
    for heading, table in tables.items():
        parts += [f"<h2>{escape(heading)}</h2>", table_html(table)]
    parts += [
        "<h2>Protocol</h2>",
        f"<p>{escape(report.protocol)}</p>",
        f"<p class=faint>{escape(_made_by(report))}</p>",
    ]
    return document(f"Where recall is lost: {report.title}", parts)


def _made_with(report: BudgetReport) -> str:
    encoder = report.encoder
    filtered = f"; filter {report.where}" if report.where is not None else ""
    return f"{encoder.spec} on {report.device}, {report.precision}, fingerprint {encoder.fingerprint}{filtered}"


def _made_by(report: BudgetReport) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"{versions}. {', '.join(report.hardware.values())} cores. Benchmark {report.benchmark_hash}."
