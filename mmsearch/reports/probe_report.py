"""What a probe says of models: JSON, Markdown, a page with the worst failures, CSV."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mmsearch.errors import ImageError, StoreError
from mmsearch.evaluation.probes import (
    ALL,
    FigureResult,
    ProbeFailure,
    ProbePicture,
    ProbeReport,
    ProbeSystem,
    open_picture,
)
from mmsearch.metrics import Difference, Estimate
from mmsearch.reports.markdown import Table
from mmsearch.reports.page_parts import escape
from mmsearch.reports.pictures import framed_html, image_uri
from mmsearch.reports.tabled_report import TabledReport, write_tabled

__all__ = ["probe_report", "probe_tables", "write_probe"]


def write_probe(report: ProbeReport, target: str | os.PathLike[str]) -> tuple[Path, ...]:
    """Write a report to a .json, .md, .html or .csv file, or all of them to a folder; returns the files.

    Raises StoreError.
    """
    return write_tabled(probe_report(report), target)


def probe_report(report: ProbeReport) -> TabledReport:
    """The report as it is written."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return TabledReport(
        name="probe",
        title=report.title,
        verdict=_verdict(report),
        notes=tuple(_notes(report)),
        explained="Figures in percent with their 95 % intervals in brackets. "
        + "; ".join(f"{name}: {about}" for name, about in report.figures.items())
        + ".",
        tables=probe_tables(report),
        problems=(*report.problems, *_unreadable(report)),
        protocol=report.protocol,
        figures=[_csv_row(report, system, result) for system in report.systems for result in system.results],
        pictures=lambda: _pictures(report),
        document=asdict(report),
        made_by=f"{versions}. {', '.join(report.hardware.values())} cores.",
    )


def _verdict(report: ProbeReport) -> str:
    """The first figure of the first model, beside chance and what texts alone give away; where there is none of all
    examples, the subset that is least above chance."""
    system = report.systems[0]
    result = system.results[0]
    name = result.figure
    if result.subset != ALL:
        result = min(system.results, key=lambda each: each.strict.value - each.chance)
        name = f"weakest at {result.subset}:"
    words = f"{system.encoder.spec}: {name} {_estimate(result.strict)} %, chance {_percent(result.chance)}"
    if result.average_picture is not None:
        words += f"; blind to the pictures {_percent(result.average_picture)}"
    if result.shorter_text is not None:
        words += f", by the shorter text {_percent(result.shorter_text)}"
    return f"{words}."


def _notes(report: ProbeReport) -> Iterator[str]:
    counts = f"{report.examples:,} examples, {report.pictures:,} pictures, {report.texts:,} texts"
    yield f"{counts}; read from {report.source}."
    if report.templates:
        yield f"{len(report.templates):,} templates, averaged: {report.templates[0]!r}, …"
    for system in report.systems:
        cut = f"; {system.truncated:,} texts are longer than the model reads" if system.truncated else ""
        spec, fingerprint = system.encoder.spec, system.encoder.fingerprint
        yield f"{spec} on {system.device}, {system.precision}, fingerprint {fingerprint}{cut}."


def _unreadable(report: ProbeReport) -> Iterator[str]:
    for system in report.systems:
        if system.unreadable:
            yield (
                f"{system.encoder.spec}: {len(system.unreadable):,} UNREADABLE PICTURES LEFT OUT with their examples: "
                f"{', '.join(system.unreadable[:5])}"
            )


def probe_tables(report: ProbeReport) -> Mapping[str, Table]:
    """Heading -> table: figures of each model, differences of models."""
    tables = {f"Figures of {system.encoder.spec}": _figures(system) for system in report.systems}
    for comparison in report.comparisons:
        heading = f"{comparison.second} against {comparison.first}"
        tables[heading] = _differences(comparison.differences)
    return tables


def _figures(system: ProbeSystem) -> Table:
    header = ["figure", "subset", "strict", "half", "lenient", "ties", "chance"]
    header += ["average picture", "shorter text", "examples", "groups"]
    rows = [
        [
            *(result.figure, result.subset),
            *(_estimate(result.strict), _percent(result.half.value), _percent(result.lenient.value)),
            *(f"{result.tied:,}", _percent(result.chance)),
            *(_percent(result.average_picture), _percent(result.shorter_text)),
            *(f"{result.examples:,}", f"{result.groups:,}"),
        ]
        for result in system.results
    ]
    return header, rows


def _differences(differences: Mapping[str, Difference]) -> Table:
    rows = [
        [
            name,
            *(_percent(each.first), _percent(each.second)),
            f"{100 * each.value:+.2f} [{100 * each.interval.low:+.2f}, {100 * each.interval.high:+.2f}]",
            f"{each.p:.4f}",
        ]
        for name, each in differences.items()
    ]
    return ["figure", "first", "second", "difference", "p"], rows


def _percent(value: float | None) -> str:
    return "" if value is None else f"{100 * value:.2f}"


def _estimate(estimate: Estimate) -> str:
    low, high = 100 * estimate.interval.low, 100 * estimate.interval.high
    return f"{100 * estimate.value:.2f} [{low:.2f}, {high:.2f}]"


def _csv_row(report: ProbeReport, system: ProbeSystem, result: FigureResult) -> dict[str, Any]:
    row: dict[str, Any] = {
        "probe": report.probe,
        "model": system.encoder.spec,
        "precision": system.precision,
        "figure": result.figure,
        "subset": result.subset,
        "examples": result.examples,
        "groups": result.groups,
    }
    for name in ("strict", "half", "lenient"):
        estimate: Estimate = getattr(result, name)
        row |= {name: estimate.value, f"{name}_low": estimate.interval.low, f"{name}_high": estimate.interval.high}
    return row | {
        "tied": result.tied,
        "chance": result.chance,
        "average_picture": result.average_picture,
        "shorter_text": result.shorter_text,
    }


def _pictures(report: ProbeReport) -> Iterator[str]:
    for system in report.systems:
        if not system.failures:
            continue
        yield f"<h2>Worst failures of {escape(system.encoder.spec)}</h2>"
        yield (
            "<p class=faint>Examples that the first figure calls wrong, those first that are wrong by most, one a "
            "picture. The first text is right, or each picture's own. Behind each text its score with each picture.</p>"
        )
        for failure in system.failures:
            yield _failure_html(failure)


def _failure_html(failure: ProbeFailure) -> str:
    figures = "".join(framed_html(failure.where, _shown(picture), picture.name) for picture in failure.pictures)
    lines = []
    for place, text in enumerate(failure.texts[:10]):
        scores = ", ".join(f"{of_picture[place]:.3f}" for of_picture in failure.scores)
        lines.append(f"<li>{escape(text)} <span class=faint>{scores}</span></li>")
    subset = f"{escape(failure.subset)}, " if failure.subset else ""
    return (
        f'<div class=failure><div class=row>{figures}<div style="flex: 1 1 20rem">'
        f"<p class=faint>{subset}margin {failure.margin:.4f}</p>"
        f"<ol>{''.join(lines)}</ol></div></div></div>"
    )


def _shown(picture: ProbePicture) -> str | None:
    try:
        return image_uri(open_picture(picture))
    except (ImageError, OSError, StoreError):
        return None
