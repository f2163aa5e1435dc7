"""Plots of a study: bars with intervals, and mean recall against what models cost. SVG for pages, PDF for papers."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from mmsearch.encoders.costs import EncoderCosts
from mmsearch.evaluation.studies import MEAN_RECALL, BenchmarkTable, StudyReport
from mmsearch.metrics import Estimate
from mmsearch.reports.plots import COLOURS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["StudyPlot", "study_plots"]

_BARS = (MEAN_RECALL, "text_to_image R@1", "image_to_text R@1")
_WIDTH = 3.9  # inches: three stand side by side on a page, and one in a column of a paper
_NAME_WIDTH = 34  # characters of a model's name
_LABEL_STEPS = ((6, 0), (-6, 0), *((dx, side * dy) for dy in range(5, 85, 5) for side in (1, -1) for dx in (6, -6)))
"""Where a name may stand, from its point, in points: the nearest first."""


@dataclass(frozen=True, slots=True)
class StudyPlot:
    """A plot that can be drawn in any form, see `draw_svg_and_pdf`.

    Attributes:
        benchmark: Of which it is.
        name: For its file.
        title: What stands above it.
        is_of_costs: Whether it sets figures against what models cost.
        size: Inches.
    """

    benchmark: str
    name: str
    title: str
    draw: "Callable[[list[Axes]], None]"
    size: tuple[float, float]
    is_of_costs: bool = False


def study_plots(report: StudyReport) -> Iterator[StudyPlot]:
    """Of each benchmark bars of mean recall and of R@1, and mean recall against parameters, operations and speed."""
    for number, table in enumerate(report.tables, 1):
        begin = f"{number}.{re.sub(r'[^A-Za-z0-9]+', '_', table.benchmark).strip('_') or 'benchmark'}"
        for figure in _BARS:
            if figure not in table.systems[0].figures:
                continue
            rows = [(system.name, system.figures[figure]) for system in table.systems]
            title = f"{table.benchmark}: {figure}{_smoke(report)}"
            name = f"{begin}.{re.sub(r'[^A-Za-z0-9]+', '_', figure)}"
            draw = partial(_draw_bars, rows=rows, title=title)
            yield StudyPlot(table.benchmark, name, title, draw, (_WIDTH, 1.1 + 0.3 * len(rows)))
        yield from _cost_plots(report, table, begin)


def _smoke(report: StudyReport) -> str:
    return "" if report.limit is None else f" (first {report.limit:,} images)"


def _cost_plots(report: StudyReport, table: BenchmarkTable, begin: str) -> Iterator[StudyPlot]:
    measures: tuple[tuple[str, str, Callable[[EncoderCosts], float | None]], ...] = (
        ("parameters", "parameters, millions", lambda costs: costs.parameters and costs.parameters / 1e6),
        ("flops", "GFLOPs an image", lambda costs: costs.image_flops and costs.image_flops / 1e9),
        ("speed", "images a second", lambda costs: costs.images_per_second),
    )
    for name, label, measure in measures:
        points = []
        for system in table.systems:
            value = None if system.cell.costs is None else measure(system.cell.costs)
            if value:
                points.append((system.name, value, system.figures[MEAN_RECALL]))
        if len(points) < 2:
            continue
        title = f"{table.benchmark}: mean recall against {label}{_smoke(report)}"
        height = max(3.3, 1.6 + 0.22 * len(points))
        draw = partial(_draw_points, points=points, label=label, title=title)
        yield StudyPlot(table.benchmark, f"{begin}.{name}", title, draw, (_WIDTH, height), is_of_costs=True)


def _draw_bars(panels: "list[Axes]", rows: Sequence[tuple[str, Estimate]], title: str) -> None:
    """Lying bars, so that names of any length can be read, from 0, so that lengths compare."""
    (axes,) = panels
    positions = range(len(rows))
    values = [100 * figure.value for _, figure in rows]
    axes.barh(positions, values, color=COLOURS[0], height=0.62)
    # Of a skewed bootstrap the figure itself may lie outside.
    below = [max(0.0, value - 100 * figure.interval.low) for value, (_, figure) in zip(values, rows, strict=True)]
    above = [max(0.0, 100 * figure.interval.high - value) for value, (_, figure) in zip(values, rows, strict=True)]
    axes.errorbar(values, positions, xerr=[below, above], fmt="none", ecolor="#202124", elinewidth=1, capsize=2.5)
    axes.set_yticks(positions, [_shorten(name) for name, _ in rows], fontsize=8)
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    furthest = max(100 * figure.interval.high for _, figure in rows)
    axes.set_xlim(0, max(1.0, 1.2 * furthest))
    for position, (_, figure) in zip(positions, rows, strict=True):
        axes.annotate(
            f"{100 * figure.value:.1f}",
            (100 * max(figure.interval.high, figure.value), position),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.set_xticks([tick for tick in axes.get_xticks() if tick <= 100])
    axes.set_xlabel("%, with 95 % intervals", fontsize=9)
    axes.set_title(_wrapped(title), fontsize=10)


def _draw_points(panels: "list[Axes]", points: Sequence[tuple[str, float, Estimate]], label: str, title: str) -> None:
    (axes,) = panels
    smallest, largest = min(x for _, x, _ in points), max(x for _, x, _ in points)
    for (_, x, figure), colour in zip(points, COLOURS * (1 + len(points)), strict=False):
        y = 100 * figure.value
        error = [[max(0.0, y - 100 * figure.interval.low)], [max(0.0, 100 * figure.interval.high - y)]]
        axes.errorbar([x], [y], yerr=error, fmt="o", color=colour, markersize=5, elinewidth=1, capsize=2)
    spread = largest / smallest
    axes.set_xscale("log")
    margin = max(spread, 1.5) ** 0.35
    axes.set_xlim(smallest / margin, largest * margin)
    _set_plain_ticks(axes, smallest / margin, largest * margin)
    low = min(100 * figure.interval.low for _, _, figure in points)
    high = max(100 * figure.interval.high for _, _, figure in points)
    room = max(0.12 * (high - low), 0.5)
    axes.set_ylim(max(0.0, low - room), high + room)
    axes.set_xlabel(label, fontsize=9)
    axes.set_ylabel("mean recall, %", fontsize=9)
    axes.set_title(_wrapped(title), fontsize=10)
    _label_points(axes, [(_shorten(name), x, 100 * figure.value) for name, x, figure in points])


def _set_plain_ticks(axes: "Axes", low: float, high: float) -> None:
    """Round numbers, written out: of a logarithm that spans less than a decade matplotlib labels hardly any."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    ticks: list[float] = []
    for bases in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7), [n / 10 for n in range(10, 100)]):
        if len(ticks) < 3:
            every = (base * 10.0**power for power in range(-6, 15) for base in bases)
            ticks = [tick for tick in every if low <= tick <= high]
    ticks = ticks[:: max(1, -(-len(ticks) // 6))]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.3g}" if value < 1000 else f"{value:,.0f}"))


def _label_points(axes: "Axes", points: Sequence[tuple[str, float, float]]) -> None:
    """A name beside each point: where it covers no other name, no point, and stays inside; with a line to its point
    where it is away from it."""
    figure: Any = axes.figure
    figure.draw_without_rendering()  # places are known from here on
    renderer = figure.canvas.get_renderer()
    inside = axes.get_window_extent(renderer)
    dots = [axes.transData.transform((x, y)) for _, x, y in points]
    taken: list[Any] = []
    for (name, x, y), dot in sorted(zip(points, dots, strict=True), key=lambda pair: -pair[0][2]):

        def cost(step: tuple[int, int], name: str = name, at: tuple[float, float] = (x, y), dot: Any = dot) -> int:
            text = _write_name(axes, name, at, step)
            box = _words_box(text, renderer)
            text.remove()
            leaves = bool(box.x0 < inside.x0 or box.x1 > inside.x1 or box.y0 < inside.y0 or box.y1 > inside.y1)
            covered = sum(bool(box.overlaps(other)) for other in taken)
            covered += sum(bool(box.contains(*other)) for other in dots if other is not dot)
            return 3 * leaves + covered

        free = next((step for step in _LABEL_STEPS if cost(step) == 0), None)
        chosen = _write_name(axes, name, (x, y), free or min(_LABEL_STEPS, key=cost))
        taken.append(_words_box(chosen, renderer))


def _write_name(axes: "Axes", name: str, at: tuple[float, float], step: tuple[int, int]) -> Any:
    dx, dy = step
    line = {"arrowstyle": "-", "color": "#999999", "linewidth": 0.6, "shrinkA": 0, "shrinkB": 3}
    return axes.annotate(
        name,
        at,
        xytext=(dx, dy),
        textcoords="offset points",
        fontsize=7.5,
        ha="left" if dx > 0 else "right",
        va="center",
        arrowprops=line if abs(dy) > 9 else None,
    )


def _words_box(text: Any, renderer: Any) -> Any:
    """Where the words of an annotation stand, without its line."""
    from matplotlib.text import Text

    text.update_positions(renderer)
    return Text.get_window_extent(text, renderer)


def _wrapped(title: str) -> str:
    """On two lines, where it is long."""
    if len(title) <= 52:
        return title
    words = title.split(" ")
    middle = min(range(1, len(words)), key=lambda n: abs(len(" ".join(words[:n])) - len(title) / 2)) if words[1:] else 1
    return " ".join(words[:middle]) + "\n" + " ".join(words[middle:])


def _shorten(name: str) -> str:
    return name if len(name) <= _NAME_WIDTH else f"{name[:12]}…{name[-(_NAME_WIDTH - 13) :]}"
