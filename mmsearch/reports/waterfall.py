"""Where recall is lost, as a waterfall: from the reference down, stage by stage, to the product. SVG."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from mmsearch.evaluation import BudgetReport
from mmsearch.metrics import Difference
from mmsearch.reports.plots import draw_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["waterfalls"]

_LOSS, _GAIN, _UNSURE, _END = "#d1495b", "#2a7d2a", "#b9b6ae", "#20639b"
_LEAST_WIDTH = 1.0  # points that the axis spans at least: a loss of nothing must not look like one


def waterfalls(report: BudgetReport) -> dict[str, str]:
    """Name -> SVG: mean recall, and R@k of each direction."""
    steps = [stage.step.mean_recall for stage in report.stages]
    names = [stage.name for stage in report.stages]
    svgs = {
        "mean_recall": draw_svg(
            partial(_draw_panels, names=names, figures={"mean recall": steps}), 1, (8.4, 0.34 * len(names) + 1.7)
        )
    }
    for direction, figures in report.whole.recall.items():
        of_direction = {
            f"{direction} {figure}": [stage.step.recall[direction][figure] for stage in report.stages]
            for figure in figures
        }
        svgs[direction] = draw_svg(
            partial(_draw_panels, names=names, figures=of_direction),
            len(of_direction),
            (4.2, 0.3 * len(names) + 1.6),
        )
    return svgs


def _draw_panels(panels: "list[Axes]", names: Sequence[str], figures: Mapping[str, Sequence[Difference]]) -> None:
    for number, (panel, (title, steps)) in enumerate(zip(panels, figures.items(), strict=True)):
        _draw_waterfall(panel, names, steps)
        panel.set_title(title)
        panel.set_xlabel("%")
        if number:
            panel.set_yticklabels([])


def _draw_waterfall(axes: "Axes", names: Sequence[str], steps: Sequence[Difference]) -> None:
    """The reference on top, the product at the bottom, and between them a bar a stage: from what it was given to what
    it leaves, with the interval of that change around its end."""
    levels = [100 * steps[0].first, *(100 * step.second for step in steps)]
    bottom = len(names) + 1
    for row, value in ((0, levels[0]), (bottom, levels[-1])):
        axes.plot(value, row, "o", color=_END, markersize=6)
        axes.annotate(f"{value:.2f}", (value, row), (7, 0), textcoords="offset points", va="center", fontsize=8.5)
    for row, (step, level) in enumerate(zip(steps, levels, strict=False), 1):
        change = 100 * step.value
        colour = _UNSURE if 0 in step.interval else _LOSS if change < 0 else _GAIN
        axes.barh(row, change, left=level, height=0.62, color=colour)
        ends = [level + 100 * step.interval.low, level + 100 * step.interval.high]
        axes.plot(ends, [row, row], color="#303030", linewidth=1)
        axes.plot([level + change] * 2, [row - 0.31, row + 0.69], color="#8a8a8a", linewidth=0.8)
        right = max(level, level + change, *ends)
        axes.annotate(f"{change:+.2f}", (right, row), (5, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.plot([levels[0]] * 2, [0, 0.69], color="#8a8a8a", linewidth=0.8)
    marks = levels + [
        level + 100 * end
        for level, step in zip(levels, steps, strict=False)
        for end in (step.interval.low, step.interval.high)
    ]
    low, high = min(marks), max(marks)
    spare = max(0.0, _LEAST_WIDTH - (high - low)) / 2
    width = high - low + 2 * spare
    # Room on the right for the figures beside the bars.
    axes.set_xlim(low - spare - 0.06 * width, high + spare + 0.28 * width)
    left, right_end = axes.get_xlim()
    axes.set_xticks([tick for tick in axes.get_xticks() if left <= tick <= min(100, right_end)])
    axes.set_ylim(bottom + 0.6, -0.6)
    axes.set_yticks(range(bottom + 1), ["reference", *names, "product"])
    axes.grid(visible=False, axis="y")
