"""What was learnt and what was kept by weights between before and after, as SVG."""

from pathlib import Path
from typing import TYPE_CHECKING

from mmsearch.errors import StoreError
from mmsearch.reports.plots import COLOURS, draw_svg
from mmsearch.training.records import FinetuneReport

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["draw_alpha_curve"]


def draw_alpha_curve(report: FinetuneReport, file: Path) -> Path:
    """Draw what decides on validation pairs, and what is left of what the model knew, against the share of the training
    that is kept. Raises StoreError."""

    def draw_panels(panels: "list[Axes]") -> None:
        _draw(panels[0], report)

    svg = draw_svg(draw_panels, panels=1, panel_size=(6.4, 4.2))
    try:
        file.write_text(svg, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"cannot write {file}: {(error.strerror or str(error)).lower()}") from error
    return file


def _draw(axes: "Axes", report: FinetuneReport) -> None:
    alphas = [point.alpha for point in report.curve]
    axes.plot(
        *(alphas, [point.new for point in report.curve]),
        color=COLOURS[0],
        marker="o",
        markersize=4,
        label=f"learnt: {report.held_out.decided_by} on validation pairs",
    )
    kept = [(point.alpha, point.kept) for point in report.curve if point.kept is not None]
    if kept:
        axes.plot(*zip(*kept, strict=True), color=COLOURS[1], marker="s", markersize=4, label="kept of what it knew")
    axes.axvline(report.alpha, color="#2a7d2a", linestyle=":", linewidth=1.2, label="chosen")
    axes.set(ylim=(-0.02, 1.02), xlabel="share of the way from the weights before to those after", ylabel="share")
    axes.set_title(report.method)
    axes.legend(loc="best", fontsize=8)
