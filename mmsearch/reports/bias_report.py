"""Whether answers are skewed: JSON, Markdown, a page, CSV."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from mmsearch.evaluation.bias import BiasReport, GroupShare
from mmsearch.reports.markdown import Table
from mmsearch.reports.tabled_report import TabledReport

__all__ = ["bias_report"]


def bias_report(report: BiasReport) -> TabledReport:
    """The report as it is written."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    tables = {"Groups": _groups(report), "All queries": _means(report), "Each query": _queries(report)}
    if report.differences:
        tables["Corrected against plain"] = _differences(report)
    corrected = report.why_not_corrected and f"Nothing is corrected: {report.why_not_corrected}."
    notes = (f"{report.encoder.spec}, fingerprint {report.encoder.fingerprint}.", corrected, *report.advice)
    return TabledReport(
        name="bias",
        title=report.title,
        verdict=report.verdict,
        notes=tuple(note for note in notes if note),
        explained="Shares in percent. MaxSkew and NDKL: 0 is best; by lot: what random orders get.",
        tables=tables,
        problems=report.problems,
        protocol=report.protocol,
        figures=list(_csv_rows(report)),
        pictures=lambda: iter(()),
        document=asdict(report),
        made_by=f"{versions}. {', '.join(report.hardware.values())} cores.",
    )


def _groups(report: BiasReport) -> Table:
    ks = list(report.groups[0].shown)
    corrected = bool(report.groups[0].shown_corrected)
    header = ["group", "pictures", "should have", *(f"in the first {k}" for k in ks)]
    header += [f"corrected, first {k}" for k in ks] if corrected else []

    def row(group: GroupShare) -> list[str]:
        shown = [*group.shown.values(), *group.shown_corrected.values()]
        return [group.name, f"{group.pictures:,}", *(f"{100 * share:.1f}" for share in (group.desired, *shown))]

    return header, [row(group) for group in report.groups]


def _means(report: BiasReport) -> Table:
    rows = [
        [name, f"{each.value:.3f} [{each.interval.low:.3f}, {each.interval.high:.3f}]", f"{report.by_lot[name]:.3f}"]
        for name, each in report.means.items()
    ]
    return ["figure", "mean", "by lot"], rows


def _queries(report: BiasReport) -> Table:
    names = list(report.means)
    corrected = bool(report.differences)
    header = ["query", *(part for name in names for part in (name, "p", *(["corrected"] if corrected else [])))]
    rows = []
    for query in report.queries:
        row = [query.query]
        for name in names:
            row += [f"{query.skew[name]:.3f}", f"{query.p[name]:.3f}"]
            row += [f"{query.corrected[name]:.3f}"] if corrected else []
        rows.append(row)
    return header, rows


def _differences(report: BiasReport) -> Table:
    rows = [
        [
            name,
            *(f"{each.first:.3f}", f"{each.second:.3f}"),
            f"{each.value:+.3f} [{each.interval.low:+.3f}, {each.interval.high:+.3f}]",
            f"{each.p:.4f}",
        ]
        for name, each in report.differences.items()
    ]
    return ["figure", "plain", "corrected", "difference", "p"], rows


def _csv_rows(report: BiasReport) -> Iterator[dict[str, Any]]:
    for query in report.queries:
        for name, value in query.skew.items():
            row = {"query": query.query, "figure": name, "plain": value, "p": query.p[name]}
            yield row | {"by_lot": report.by_lot[name], "corrected": query.corrected.get(name)}
