"""How far a gallery lies from a reference: JSON, Markdown, a page with the farthest pictures, CSV."""

from collections.abc import Iterator
from dataclasses import asdict

from mmsearch.evaluation.shift import ShiftReport
from mmsearch.metrics import Estimate
from mmsearch.reports.markdown import Table
from mmsearch.reports.pictures import picture_html
from mmsearch.reports.tabled_report import TabledReport

__all__ = ["shift_report"]


def shift_report(report: ShiftReport) -> TabledReport:
    """The report as it is written."""
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return TabledReport(
        name="shift",
        title=report.title,
        verdict=report.verdict,
        notes=(
            f"{report.encoder.spec}, fingerprint {report.encoder.fingerprint}.",
            f"{report.compared:,} pictures of each compared by lot, {report.looked_at:,} looked at for outliers.",
        ),
        explained="Fréchet and MMD²: 0 is no shift; 95 % intervals in brackets.",
        tables={"Distances": _distances(report), "Farthest pictures": _farthest(report)},
        problems=report.problems,
        protocol=report.protocol,
        figures=[
            {"figure": name, "value": each.value, "low": each.interval.low, "high": each.interval.high}
            for name, each in (("frechet", report.frechet), ("mmd_squared", report.mmd), ("outliers", report.outliers))
        ]
        + [{"figure": "frechet_within_reference", "value": report.frechet_within}, {"figure": "p", "value": report.p}],
        pictures=lambda: _pictures(report),
        document=asdict(report),
        made_by=f"{versions}. {', '.join(report.hardware.values())} cores.",
    )


def _distances(report: ShiftReport) -> Table:
    rows = [
        ["Fréchet", _estimate(report.frechet, 4), f"{report.frechet_within:.4f}", ""],
        ["MMD²", _estimate(report.mmd, 4), "0", f"{report.p:.4f}"],
        ["outliers, %", _estimate(report.outliers, 2, 100), _estimate(report.usual, 2, 100), ""],
    ]
    return ["figure", "here", "within the reference", "p"], rows


def _farthest(report: ShiftReport) -> Table:
    rows = [[each.name, f"{each.distance:.4f}", each.nearest] for each in report.shown[:10]]
    return ["picture", "distance", "nearest of the reference"], rows


def _estimate(estimate: Estimate, digits: int, scale: float = 1) -> str:
    value, low, high = (scale * each for each in (estimate.value, estimate.interval.low, estimate.interval.high))
    return f"{value:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def _pictures(report: ShiftReport) -> Iterator[str]:
    if report.shown:
        yield "<h2>Outliers</h2>"
        yield "<p class=faint>The farthest pictures, each with the nearest one of the reference, framed.</p>"
    for each in report.shown:
        pair = picture_html(each.name, each.file, f"distance {each.distance:.4f}")
        pair += picture_html(each.nearest, each.nearest_file, "nearest", right=True)
        yield f"<div class=failure><div class=row>{pair}</div></div>"
