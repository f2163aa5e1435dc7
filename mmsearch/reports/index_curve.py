"""Recall of an index against the time of a query, as SVG."""

import math
from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import AnnIndexError, StoreError
from mmsearch.indexing import IndexReport, find_chosen_effort, select_best_efforts
from mmsearch.reports.plots import COLOURS, draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_curve"]

_MARGIN = 1.15


def draw_curve(report: IndexReport, file: Path) -> Path:
    """Draw recall against the latency of single queries, for text and for image queries.

    Raises AnnIndexError where the file does not end in .svg, StoreError.
    """
    if file.suffix.lower() != ".svg":
        raise AnnIndexError(f"the curve is drawn as SVG: name the file {file.with_suffix('.svg')}")

    def draw_panels(panels: "list[Axes]") -> None:
        _draw_curve(panels[0], report)

    svg = draw_svg(draw_panels, panels=1, panel_size=(7.2, 4.4))
    try:
        file.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    return file


def _draw_curve(axes: "Axes", report: IndexReport) -> None:
    chosen = find_chosen_effort(report)
    points = select_best_efforts(report.tried, kept=chosen)
    recalls = []
    for kind, colour in zip(("text", "image"), (COLOURS[1], COLOURS[0]), strict=True):
        values = [(point.milliseconds, getattr(point, kind)) for point in points]
        measured = [(milliseconds, recall) for milliseconds, recall in values if recall is not None]
        if measured:
            axes.plot(*zip(*measured, strict=True), color=colour, marker="o", markersize=4, label=f"{kind} queries")
            recalls += [recall for _, recall in measured]
    axes.axhline(report.recall_target, color="#888888", linestyle="--", linewidth=1)
    target = f"target {report.recall_target:g}"
    axes.text(1, report.recall_target, target, transform=axes.get_yaxis_transform(), ha="right", va="top")
    if chosen is not None:
        axes.axvline(chosen.milliseconds, color="#2a7d2a", linestyle=":", linewidth=1.2, label="chosen")
    k = next((recall.k for recall in report.recall), 0)
    lowest = math.floor(10 * min([*recalls, report.recall_target, 0.9])) / 10
    title = f"{report.factory}, {report.rows:,} {report.table}: recall at {k} against time"
    times = [point.milliseconds for point in points]
    if times:  # which may all be alike
        axes.set_xlim(min(times) / _MARGIN, max(times) * _MARGIN)
    axes.set(xscale="log", ylim=(lowest, 1.005), title=title, ylabel=f"recall at {k}")
    axes.set_xlabel("milliseconds for one query")
    axes.legend(loc="lower right")
