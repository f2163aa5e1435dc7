"""R@k against the size of the gallery: as CSV, and drawn."""

import csv
import io
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmsearch.evaluation import EvaluationReport, SizeCurve, SystemResult
from mmsearch.reports.plots import COLOURS, draw_legend_below, draw_svg, file_names

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["size_plots", "sizes_csv"]


def sizes_csv(report: EvaluationReport) -> str:
    """A row a system, direction, k and size: what was measured, each draw by itself, and what was extrapolated."""
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["system", "direction", "k", "gallery", "queries", "kind", "seed", "recall", "low", "high", "law"])
    for system in report.systems:
        for curve in system.sizes.curves if system.sizes else ():
            name = [system.name, curve.direction, curve.k]
            seeds = system.sizes.seeds if system.sizes else ()
            for point in curve.points:
                for seed, share in zip(seeds, point.draws, strict=False):
                    writer.writerow([*name, point.gallery, point.queries, "measured", seed, share, "", "", ""])
            for each in curve.extrapolated:
                row = [*name, each.gallery, "", "extrapolated", "", each.recall, each.low, each.high]
                writer.writerow([*row, curve.fitted[0].law.name])
    return out.getvalue()


def size_plots(report: EvaluationReport) -> dict[str, str]:
    """Name -> SVG, one for each system that was measured."""
    return {
        f"gallery_sizes{f'.{name}' if len(report.systems) > 1 else ''}": draw_svg(
            partial(_draw, system=system), panels=2
        )
        for name, system in zip(file_names(report), report.systems, strict=True)
        if system.sizes and system.sizes.curves
    }


def _draw(panels: "list[Axes]", system: SystemResult) -> None:
    assert system.sizes is not None
    for panel, direction in zip(panels, ("text_to_image", "image_to_text"), strict=True):
        curves = [curve for curve in system.sizes.curves if curve.direction == direction]
        for curve, colour in zip(curves, COLOURS * 9, strict=False):
            _draw_curve(panel, curve, colour)
        if curves:
            whole = curves[0].points[-1].gallery
            panel.axvspan(whole, 100 * whole, color="#f1efe9", zorder=0)
            panel.text(10 * whole, 97, "extrapolated", ha="center", va="top", fontsize=8, color="#777777")
        panel.set(xscale="log", ylim=(0, 101), xlabel="items in the gallery", ylabel="R@k, %", title=direction)
    draw_legend_below(panels[0] if panels[0].lines else panels[1])


def _draw_curve(panel: "Axes", curve: SizeCurve, colour: str) -> None:
    sizes = np.array([point.gallery for point in curve.points])
    means = np.array([point.recall for point in curve.points])
    ends = np.array([[min(point.draws), max(point.draws)] for point in curve.points])
    around = np.maximum(0, np.stack([means - ends[:, 0], ends[:, 1] - means]))
    panel.errorbar(
        sizes, 100 * means, 100 * around, color=colour, linestyle="", marker="o", markersize=3.5, linewidth=1
    )
    law = curve.fitted[0].law
    within = np.geomspace(sizes[0], sizes[-1], 100)
    panel.plot(within, 100 * law.recall(within), color=colour, linewidth=1.4, label=f"R@{curve.k}, {law.name} law")
    ahead = np.geomspace(sizes[-1], 100 * sizes[-1], 100)
    panel.plot(ahead, 100 * law.recall(ahead), color=colour, linewidth=1.2, linestyle="--")
    panel.fill_between(
        [sizes[-1], *(each.gallery for each in curve.extrapolated)],
        [100 * means[-1], *(100 * each.low for each in curve.extrapolated)],
        [100 * means[-1], *(100 * each.high for each in curve.extrapolated)],
        color=colour,
        alpha=0.13,
        linewidth=0,
    )
