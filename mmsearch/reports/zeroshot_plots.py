"""Zero-shot classification drawn, as SVG: figures with intervals, classes, what is taken for what, reliability."""

import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mmsearch.evaluation import ZeroShotReport, ZeroShotSystem
from mmsearch.reports.plots import COLOURS, draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["confusion_matrix", "zeroshot_plots"]

_MOST_CLASSES = 30
"""As many rows of confusions as can be read; of more classes those that are confused most."""
_OTHER = "any other"


def zeroshot_plots(report: ZeroShotReport) -> dict[str, str]:
    """Name -> SVG: the figures of all systems; of each, what is taken for what and whether its chances come true."""
    count = len(report.systems)
    svgs = {"figures": draw_svg(partial(_draw_figures, report=report), len(report.figures), (3.4, 0.36 * count + 1.2))}
    for number, system in enumerate(report.systems, 1):
        ending = (
            "" if count == 1 else "." + (re.sub(r"[^\w.+-]+", "_", system.name, flags=re.ASCII)[-60:] + f"_{number}")
        )
        if system.calibration is not None:
            svgs[f"reliability{ending}"] = draw_svg(partial(_draw_reliability, system=system), 1, (4.2, 3.9))
        if not report.multilabel:
            names, shares = confusion_matrix(report, system)
            size = 0.24 * len(names[0]) + 3.2
            draw = partial(_draw_confusions, system=system, names=names, shares=shares)
            svgs[f"confusions{ending}"] = draw_svg(draw, 1, (size + 0.6, size))
    return svgs


def _shorten(name: str, most: int = 34) -> str:
    return name if len(name) <= most else f"{name[: most - 1]}…"


def _draw_figures(panels: "list[Axes]", report: ZeroShotReport) -> None:
    """A bar a system, with its interval; the figure stands beside it."""
    rows = np.arange(len(report.systems))
    for number, (panel, name) in enumerate(zip(panels, report.figures, strict=True)):
        estimates = [system.figures[name] for system in report.systems]
        values = 100 * np.array([each.value for each in estimates])
        ends = 100 * np.array([[each.interval.low, each.interval.high] for each in estimates])
        around = np.maximum(0, np.stack([values - ends[:, 0], ends[:, 1] - values]))
        panel.barh(rows, values, 0.62, xerr=around, color=COLOURS[number % len(COLOURS)], ecolor="#303030", capsize=2)
        for row, value, end in zip(rows.tolist(), values.tolist(), ends[:, 1].tolist(), strict=True):
            panel.annotate(f"{value:.1f}", (end, row), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
        panel.set(xlim=(0, 118), ylim=(len(rows) - 0.5, -0.5), title=name, xlabel="%")
        panel.set_xticks([0, 25, 50, 75, 100])
        panel.set_yticks(rows, [_shorten(system.name) for system in report.systems] if not number else [""] * len(rows))
        panel.grid(visible=False, axis="y")


def _draw_reliability(panels: "list[Axes]", system: ZeroShotSystem) -> None:
    (axes,) = panels
    judged = system.calibration
    assert judged is not None
    shares = 100 * np.array([each.relevant.value for each in judged.reliability])
    ends = 100 * np.array([[each.relevant.interval.low, each.relevant.interval.high] for each in judged.reliability])
    chances = 100 * np.array([each.predicted for each in judged.reliability])
    counts = np.array([each.count for each in judged.reliability])
    # Of a skewed bootstrap the share itself may lie outside.
    around = np.maximum(0, np.stack([shares - ends[:, 0], ends[:, 1] - shares]))
    axes.bar(chances, 100 * counts / counts.sum(), 2.4, color="#d9d6cf", label="pictures, %")
    axes.plot([0, 100], [0, 100], color="#999999", linestyle=":", linewidth=1)
    axes.errorbar(chances, shares, around, color=COLOURS[0], marker="o", markersize=4, linewidth=1.2, label="right, %")
    axes.set(xlim=(0, 102), ylim=(0, 102), xlabel="chance of the best class, %")
    axes.set_title(f"{_shorten(system.name)}\nECE {100 * judged.error.value:.1f}, scale {judged.scale:.4g}", fontsize=9)
    axes.legend(loc="upper left", fontsize=8)


def confusion_matrix(
    report: ZeroShotReport, system: ZeroShotSystem
) -> tuple[tuple[list[str], list[str]], NDArray[np.float64]]:
    """The names of rows and columns, and what share of the pictures of a row's class is taken for a column's.

    Of many classes those that are confused most, in the order of the data set, and one more column for all others.
    """
    shown = [each.shown for each in report.classes]
    images = dict(zip(shown, (result.images for result in system.classes), strict=True))
    if len(shown) > _MOST_CLASSES:
        weight: Counter[str] = Counter()
        for each in system.confusions:
            weight[each.actual] += each.images
            weight[each.predicted] += each.images
        most = {name for name, _ in weight.most_common(_MOST_CLASSES)}
        shown = [name for name in shown if name in most and images[name]]
    rows = [name for name in shown if images[name]]
    all_shown = len(shown) == len(report.classes)
    row_of, column_of = ({name: index for index, name in enumerate(names)} for names in (rows, shown))
    counts = np.zeros((len(rows), len(shown) + 1))
    for each in system.confusions:
        if each.actual in row_of:
            counts[row_of[each.actual], column_of.get(each.predicted, len(shown))] += each.images
    for name, row in row_of.items():
        counts[row, column_of[name]] = images[name] - counts[row].sum()
    shares = counts / np.array([images[name] for name in rows])[:, None]
    return ((rows, shown), shares[:, :-1]) if all_shown else ((rows, [*shown, _OTHER]), shares)


def _draw_confusions(
    panels: "list[Axes]", system: ZeroShotSystem, names: tuple[list[str], list[str]], shares: NDArray[np.float64]
) -> None:
    (axes,) = panels
    rows, columns = names
    if not rows:
        axes.text(0.5, 0.5, "nothing is confused", ha="center", transform=axes.transAxes)
        axes.set_axis_off()
        return
    axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True):
        share = float(shares[row, column])
        colour = "white" if share > 0.55 else "#303030"
        axes.text(int(column), int(row), f"{100 * share:.0f}", ha="center", va="center", fontsize=6.5, color=colour)
    axes.set_xticks(range(len(columns)), [_shorten(name, 26) for name in columns], rotation=90, fontsize=7)
    axes.set_yticks(range(len(rows)), [_shorten(name, 26) for name in rows], fontsize=7)
    axes.set(xlabel="taken for", ylabel="class")
    axes.set_title(f"{_shorten(system.name)}: % of the pictures of a class", fontsize=9)
    axes.grid(visible=False)
